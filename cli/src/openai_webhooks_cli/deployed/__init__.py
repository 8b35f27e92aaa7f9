"""The commands for a deployed stack. They use your own credentials, and nothing of them is deployed.

Each command has a module. Commands do not import each other; what they share is in the other modules.
"""
