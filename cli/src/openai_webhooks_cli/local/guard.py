"""Who may use the servers of this machine: the programs of its user, and the containers that know a run's key.

Without these checks, another web site that is open in the browser could read payloads and secrets, for example with a
name that it resolves to the loopback address. A container could do it at the address of Docker's bridge.
"""

import re
from collections.abc import Callable

from werkzeug import Request

Refusal = Callable[[Request], str | None]
"""Returns why a request must not be answered, or None."""

SERVICES = {"cloudformation", "dynamodb", "events", "iam", "lambda", "logs", "monitoring"}
SERVICES |= {"s3", "secretsmanager", "sns", "sqs", "ssm", "states", "sts"}
"""The services of the embedded AWS, by the names in signatures: those of the stacks and of the commands."""

_LOOPBACK_ADDRESS = r"127(\.[0-9]{1,3}){3}"
_LOOPBACK_HOST = re.compile(rf"(([\w-]+\.)*localhost|{_LOOPBACK_ADDRESS}|\[::1\])(:[0-9]{{1,5}})?", re.IGNORECASE)
# A tunnel can make the Host header look local, but it also adds one of these headers.
_PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host")
_CREDENTIAL = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/, ]+)/[^/, ]+/[^/, ]+/([^/, ]+)/aws4_request\b")
_OWN_PATHS = ("/moto-api", "/latest/", "/favicon.ico")
"""Paths for which moto does not look at the signature."""


def refuse_foreign(request: Request) -> str | None:
    """Refuse what does not come from this machine, or comes from another web site."""
    host = request.headers.get("Host", "")
    if not _LOOPBACK_HOST.fullmatch(host) or any(name in request.headers for name in _PROXY_HEADERS):
        return "Only programs on this machine can use this server, with its localhost or 127.0.0.1 URL."
    if request.headers.get("Origin", f"http://{host}").lower() != f"http://{host}".lower():
        return "This request came from another web site."
    return None


def embedded_aws(access_key: str) -> Refusal:
    """Return the refusal of an embedded AWS. Clients in containers need the access key id."""

    def refuse(request: Request) -> str | None:
        credential = _CREDENTIAL.match(request.headers.get("Authorization", ""))
        if "Origin" in request.headers or not credential or request.path.startswith(_OWN_PATHS):
            return "The embedded AWS answers only signed calls of AWS's SDKs and tools."
        if credential[2] not in SERVICES:
            return f"The embedded AWS has no service {credential[2]}."
        if credential[1] == access_key:
            return None
        if not re.fullmatch(_LOOPBACK_ADDRESS, str(request.environ["SERVER_NAME"])) or refuse_foreign(request):
            return "From a container, the embedded AWS needs the AWS_ACCESS_KEY_ID that `dev` printed."
        return None

    return refuse
