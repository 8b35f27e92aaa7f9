"""What the function's AWS clients have in common: how long they wait, and how they say what went wrong."""

from collections.abc import MutableMapping
from functools import cache
from ssl import SSLContext
from typing import Any

from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from botocore.httpsession import URLLib3Session, create_urllib3_context, get_cert_path

# OpenAI waits a few seconds. Each of the three services is called at most once more after it has failed or
# hung, and then given up for this delivery: 2 x 0.7 s and the pause between, so 4.5 s if all of them hang.
# The second attempt is for a kept-alive connection that died while the function was frozen.
CONFIG = Config(
    connect_timeout=0.5,
    read_timeout=0.7,
    retries={"mode": "standard", "total_max_attempts": 2},
    # botocore would put its own together from a dozen parts, anew for each call: docs/performance.md.
    user_agent="openai-webhooks-eventbridge",
    # The services check what they are sent, and say so no less clearly.
    parameter_validation=False,
)

AwsError = (BotoCoreError, ClientError)


# The certificate authorities are read once, at init. urllib3 would read their file for each connection, into a context
# that has them already, and OpenSSL takes 20 ms of CPU for it. Neither it nor botocore lets a caller say that this has
# been done, so two methods are replaced: https://github.com/boto/botocore/issues/3171
@cache
def _trusting(bundle: str) -> SSLContext:
    context: SSLContext = create_urllib3_context()
    context.load_verify_locations(bundle)
    return context


def _get_ssl_context(session: Any) -> SSLContext:
    return _trusting(get_cert_path(session._verify))


def _setup_ssl_cert(_session: object, pool: Any, _url: str, _verify: object) -> None:
    pool.cert_reqs = "CERT_REQUIRED"


URLLib3Session._get_ssl_context = _get_ssl_context  # type: ignore[attr-defined]
URLLib3Session._setup_ssl_cert = _setup_ssl_cert  # type: ignore[attr-defined]


def prompt[Client: BaseClient](client: Client) -> Client:
    """The client, made to pause between attempts for no longer than botocore itself would."""
    client.meta.events.register("before-parse", _forget_retry_after)
    return client


def _forget_retry_after(response_dict: MutableMapping[str, Any], **_: object) -> None:
    # A service can ask for a pause of up to 5 s by this header.
    response_dict["headers"].pop("x-amz-retry-after", None)


def reason(error: Exception) -> str:
    """The error's code or class, and the endpoint that didn't answer.

    Never its message: AWS's can quote the request, and with it the payload.
    """
    if isinstance(error, ClientError):
        return error.response["Error"]["Code"]
    endpoint = getattr(error, "kwargs", {}).get("endpoint_url")
    return f"{type(error).__name__} ({endpoint})" if endpoint else type(error).__name__
