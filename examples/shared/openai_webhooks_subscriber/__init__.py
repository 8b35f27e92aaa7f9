"""What the examples' functions share. Install it, or copy the modules that you need.

`handle_once` needs aws-lambda-powertools and boto3, and `openai_client` needs openai too. Each module reads its
settings from environment variables that the examples' templates declare.
"""
