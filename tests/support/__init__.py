"""What the tests share. Every module here is imported by name; fixtures are in the conftest files."""
