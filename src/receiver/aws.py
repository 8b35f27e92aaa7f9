"""The function's AWS clients: how long they wait, and how an error is reported."""

from collections.abc import MutableMapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# OpenAI waits for an answer for a few seconds. If a service fails or hangs, it is called once more, and then not again
# for this delivery. The second attempt is for a kept-alive connection that died while the function was frozen.
# - An attempt waits 0.5 s for a connection, 0.5 s for TLS and 0.7 s for the answer. A service that hangs in one of them
#   costs at most 1.5 s, so an answer takes at most 4.5 s if all three services hang.
# - A delivery makes at most seven calls, four of them to Secrets Manager. If each is answered just in time at the first
#   attempt, the answer takes 4.9 s.
# - It can take longer, until the function's timeout: if many second attempts succeed, if a pause after throttling (up
#   to 1 s) adds to a hang, if a service has several addresses and none accepts connections (0.5 s for each), or if the
#   lookup of its name hangs.
CONFIG = Config(
    connect_timeout=0.5,
    read_timeout=0.7,
    retries={"mode": "standard", "total_max_attempts": 2},
    # Without this, botocore builds a user agent out of a dozen parts for each call.
    user_agent="openai-webhooks-eventbridge",
    # AWS validates requests anyway, with errors just as clear.
    parameter_validation=False,
)

AwsError = (BotoCoreError, ClientError)


def client(service: Any) -> Any:
    """Return a client with the settings above. It never waits longer between two attempts than botocore does."""
    client = boto3.client(service, config=CONFIG)
    client.meta.events.register("before-parse", _drop_retry_after)
    return client


def error_code(error: Exception) -> str:
    """Return the error's code or class, and the endpoint that did not answer.

    Never use its message: AWS's messages can quote the request, and with it the payload.
    """
    if isinstance(error, ClientError):
        return error.response["Error"]["Code"]
    endpoint = getattr(error, "kwargs", {}).get("endpoint_url")
    return f"{type(error).__name__} ({endpoint})" if endpoint else type(error).__name__


def _drop_retry_after(response_dict: MutableMapping[str, Any], **_: object) -> None:
    # With this header, a service can ask for a pause of up to 5 s.
    response_dict["headers"].pop("x-amz-retry-after", None)
