"""`make fuzz`: coverage-guided fuzzing of `verify`, `unwrap` and the handler."""
