"""The commands for a deployed stack. They use your own credentials, and add nothing to the stack.

Commands do not import each other. What they share is in `shell`, `aws` and `openai_platform`.
"""
