"""The environment of the function, as the template and Lambda set it."""

from tests.support.templates import receiver_environment, receiver_memory

ENVIRONMENT = {
    **receiver_environment(),
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(receiver_memory()),
    "AWS_SECRET_ACCESS_KEY": "testing",
}
