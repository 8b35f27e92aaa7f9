"""`openai-webhooks send`: sign a sample event as OpenAI does, and deliver it."""

import json
import re
import socket
import time
from collections.abc import Iterable
from typing import Any, NamedTuple, NoReturn
from urllib.parse import SplitResult, urlsplit

import requests
from urllib3.exceptions import HTTPError, MaxRetryError

from openai_webhooks import CATALOG
from openai_webhooks_cli import dev_defaults, samples

TIMEOUT = 30  # seconds


class SendError(Exception):
    """Nothing was sent, or no answer came. The text says which, and what to do."""


class Answer(NamedTuple):
    """What the receiver answered. `notes` says what is unusual about the event that was sent."""

    status: int
    text: str
    milliseconds: float
    webhook_id: str
    notes: list[str]


def send(
    event_type: str,
    *,
    url: str,
    secret: str,
    data: Iterable[str] = (),
    webhook_id: str | None = None,
    tamper: str | None = None,
) -> Answer:
    """Deliver a sample event.

    Each `KEY=TEXT` or `KEY:=JSON` in `data` sets a field of the event's data. `tamper` breaks the signature, the
    timestamp or the body. Raises SendError and InvalidSecret.
    """
    where = _checked(url)
    now = int(time.time())
    event = samples.sample(event_type, created_at=now, event_id=samples.new_id("evt_"))
    notes = [] if event_type in CATALOG else [f"{event_type} is not a known type, so its sample has only an id."]
    for assignment in data:
        new_field = _set_field(event["data"], assignment)
        if new_field and event_type in CATALOG:
            notes.append(f"{event_type} has no field data.{new_field}. The event was sent with it.")
    try:
        body = samples.encode(event)
    except UnicodeEncodeError:
        raise SendError("The event contains text that is not valid UTF-8. Check TYPE and --data.") from None
    if webhook_id is None:
        webhook_id = samples.new_id("wh_")
    elif not re.fullmatch("[!-~]+", webhook_id):
        raise SendError("A header cannot contain this id. Use letters, digits and ASCII punctuation for --id.")
    headers = samples.headers(body, secret=secret, timestamp=now, webhook_id=webhook_id)
    headers, body = samples.tamper(headers, body, tamper)
    start = time.perf_counter()
    try:
        response = requests.post(url, data=body, headers=headers, timeout=TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        raise SendError(_explanation(error, where)) from None
    milliseconds = (time.perf_counter() - start) * 1000
    return Answer(response.status_code, response.text, milliseconds, webhook_id, notes)


def _set_field(data: dict[str, Any], assignment: str) -> str | None:
    """Set the field that `KEY=TEXT` or `KEY:=JSON` names. Return the key if the field is new."""
    key, separator, text = assignment.partition("=")
    path = key.removesuffix(":").split(".")
    if not separator or not all(path):
        raise SendError(
            f"Cannot read --data {assignment}. Write KEY=TEXT or KEY:=JSON, for example --data id=batch_7. "
            "A key can have parts: required_action.type=function_call."
        )
    *parents, name = path
    for depth, parent in enumerate(parents, start=1):
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            parent_key = ".".join(path[:depth])
            raise SendError(
                f"Cannot read --data {assignment}: {parent_key} is not an object. "
                f"Set all of it: --data '{parent_key}:=JSON'"
            )
    is_new = name not in data
    data[name] = _json(text, assignment) if key.endswith(":") else text
    return ".".join(path) if is_new else None


def _json(text: str, assignment: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise SendError(f"Cannot read --data {assignment}: no JSON after :=. For text, write KEY=TEXT.") from None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _checked(url: str) -> SplitResult:
    """Return the parts of an http or https URL. Raises SendError."""
    example = f"Set --url to a URL such as {dev_defaults.URL}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SendError(f"{url} is not a valid URL: {error}. {example}") from None
    if "://" not in url:
        raise SendError(f"{url} has no scheme. {example}")
    if parts.scheme not in ("http", "https"):
        raise SendError(f"{parts.scheme} is not supported: a webhook needs http or https. {example}")
    if not parts.hostname or port == 0 or re.search(r"\s", url):
        raise SendError(f"{url} is not a valid URL. {example}")
    return parts


def _explanation(error: requests.RequestException, url: SplitResult) -> str:
    """Return why no answer came, and what to do."""
    server = url.netloc.rpartition("@")[2]
    reason = error.args[0] if error.args else None
    if isinstance(reason, MaxRetryError):
        reason = reason.reason
    cause = reason.__cause__ if isinstance(reason, HTTPError) else None
    match error, cause:
        case requests.exceptions.ProxyError(), _:
            problem = f"The proxy in {url.scheme.upper()}_PROXY does not connect to {server}"
            advice = f"Check the proxy. To connect without it, run: export NO_PROXY={url.hostname}"
        case requests.exceptions.SSLError(), _ if "CERTIFICATE_VERIFY_FAILED" in str(error):
            problem = f"This machine does not trust the certificate of {server}"
            advice = "If you trust it, set REQUESTS_CA_BUNDLE to a PEM file with the certificate of its authority."
        case requests.exceptions.SSLError(), _:
            problem = f"The TLS handshake with {server} failed"
            advice = "If the receiver does not use TLS, write http:// in --url."
        case requests.ConnectTimeout(), _:
            problem = f"Cannot connect to {server} within {TIMEOUT} s"
            advice = "Check --url, the network and the firewalls."
        case requests.exceptions.InvalidURL(), _:
            problem = f"{url.geturl()} is not a valid URL"
            advice = "Check --url."
        case _, socket.gaierror():
            problem = f"No host has the name {url.hostname}"
            advice = "Check --url and the network."
        case _, ConnectionRefusedError():
            problem = f"No program listens on {server}"
            advice = "Set --url to the receiver, or start a receiver with: make dev"
        case _, OSError():
            problem = f"Cannot connect to {server}: {cause.strerror}"
            advice = "Check --url and the network."
        case _:
            return (
                f"The event was sent to {server}, but no complete answer came within {TIMEOUT} s. "
                "Check --url, and read the receiver's log."
            )
    return f"{problem}, so nothing was sent. {advice}"
