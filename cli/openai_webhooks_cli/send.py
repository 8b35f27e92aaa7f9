"""`openai-webhooks send`: sign a sample event as OpenAI does, and deliver it."""

import json
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import requests

from openai_webhooks_cli import samples


class SendError(Exception):
    """Nothing was sent, or no answer came. The text says what to do."""


class Answer(NamedTuple):
    """What the receiver answered."""

    status: int
    text: str
    milliseconds: float
    webhook_id: str


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

    Each `KEY=VALUE` in `data` sets a field of the event's data. `tamper` breaks the signature, the timestamp or the
    body. Raises SendError and InvalidSecret.
    """
    now = int(time.time())
    event = samples.sample(event_type, created_at=now, event_id=samples.new_id("evt_"))
    event["data"] |= dict(_field(pair) for pair in data)
    body = samples.encode(event)
    webhook_id = webhook_id or samples.new_id("wh_")
    headers = samples.headers(body, secret=secret, timestamp=now, webhook_id=webhook_id)
    match tamper:
        case "signature":
            headers["webhook-signature"] = "v1," + headers["webhook-signature"][:2:-1]
        case "timestamp":
            headers["webhook-timestamp"] = str(now - 3600)
        case "body":
            body += b" "
    start = time.perf_counter()
    response = _post(url, body, headers)
    return Answer(response.status_code, response.text, (time.perf_counter() - start) * 1000, webhook_id)


def _field(pair: str) -> tuple[str, Any]:
    """Read `KEY=VALUE`. The value is JSON if it can be read as JSON, else text."""
    key, separator, value = pair.partition("=")
    if not key or not separator:
        raise SendError(f"Cannot read --data {pair}. Write KEY=VALUE, for example --data id=batch_7.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _post(url: str, body: bytes, headers: dict[str, str]) -> requests.Response:
    try:
        return requests.post(url, data=body, headers=headers, timeout=30, allow_redirects=False)
    except (requests.exceptions.InvalidURL, requests.exceptions.MissingSchema, requests.exceptions.InvalidSchema):
        raise SendError(f"{url} is not an http or https URL. Check --url.") from None
    except requests.Timeout:
        raise SendError(f"{url} did not answer within 30 s.") from None
    except requests.RequestException as error:
        raise SendError(
            f"Cannot reach {url} ({type(error).__name__}). Start the receiver with `make dev`, or set --url."
        ) from None
