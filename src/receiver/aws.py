"""What the function's AWS clients have in common: how long they wait, and how they say what went wrong."""

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# OpenAI waits a few seconds. Each of the three services is called at most once more after it has failed or
# hung, and then given up for this delivery: 2 x 0.7 s and the pause between, so 4.5 s if all of them hang.
# The second attempt is for a kept-alive connection that died while the function was frozen.
CONFIG = Config(
    connect_timeout=0.5,
    read_timeout=0.7,
    retries={"mode": "standard", "total_max_attempts": 2},
)

AwsError = (BotoCoreError, ClientError)


def reason(error: Exception) -> str:
    """The error's code or class: AWS's messages can quote the request, and with it the payload."""
    if isinstance(error, ClientError):
        return error.response["Error"]["Code"]
    return type(error).__name__
