"""A sample event of each type, and signed deliveries of it."""

import json
import secrets
from base64 import b64encode
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from openai_webhooks import CATALOG, decode_secret, sign

# Signs samples and the files in events/ on this machine. It is public, so it protects nothing.
DEVELOPMENT_SECRET = "whsec_ZGV2ZWxvcG1lbnQtb25seS1zaWduaW5nLWtleSEhISE="  # noqa: S105  # public on purpose

# How OpenAI's ids start, by the first part of the event's type.
_ID_PREFIXES = {
    "response": "resp_",
    "batch": "batch_",
    "fine_tuning": "ftjob-",
    "eval": "evalrun_",
    "video": "video_",
    "agent": "sess_",
    "safety": "alert_",
}
# By field. A field that is not here gets a value of its type.
_VALUES: Mapping[str, Any] = {
    "call_id": "rtc_479a275623b54bdb9b6fbae2f7cbd408",
    "session_id": "live_9b6fbae2f7cbd408479a275623b54bdb",
    "environment_id": "env_abc123",
    "environment_type": "openai_hosted",
    "remote_url": "https://api.openai.com/v1/agent/connect",
    "sip_headers": [
        {"name": "From", "value": "sip:+142555512112@sip.example.com"},
        {"name": "To", "value": "sip:+18005551212@sip.example.com"},
        {"name": "Record-Route", "value": "<sip:a.example.com;lr>"},
        {"name": "Record-Route", "value": "<sip:b.example.com;lr>"},
    ],
    "sip_media_security": "srtp",
    "safety_category": "bio",
    "safety_identifier": "user_abc123",
    "model": "gpt-6.1-sol",
    "project_id": "proj_abc123",
    "request_id": "req_abc123",
}


def sample(event_type: str, *, created_at: int, event_id: str = "evt_abc123") -> dict[str, Any]:
    """Return an event as OpenAI would send it. The data of an unknown type has only an id."""
    known = {"id": _ID_PREFIXES.get(event_type.partition(".")[0], "obj_") + "abc123", **_VALUES}
    data: Any = {"id": known["id"]}
    if event_type in CATALOG:
        data = _value("data", CATALOG[event_type].model_fields["data"].annotation, known)
    return {"id": event_id, "object": "event", "created_at": created_at, "type": event_type, "data": data}


def _value(name: str, annotation: Any, known: Mapping[str, Any]) -> Any:
    """Return a value for the field `name`: the known value, or the first value that fits its type."""
    if name in known:
        return known[name]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (Annotated, Union, UnionType):
        return _value(name, next(member for member in arguments if member is not NoneType), known)
    if origin is Literal:
        return arguments[0]
    if origin is list:
        return [_value(name, arguments[0], known)]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {field: _value(field, info.annotation, known) for field, info in annotation.model_fields.items()}
    values = {str: f"{name}_abc123", int: 1, float: 1.0, bool: True}
    if annotation not in values:
        raise TypeError(f"no sample value for the field {name} ({annotation}): add one to _VALUES in {__name__}")
    return values[annotation]


def new_id(prefix: str) -> str:
    """Return a new id in OpenAI's form: `wh_...` for a delivery, `evt_...` for an event."""
    return prefix + secrets.token_hex(16)


def encode(event: Any) -> bytes:
    """Return the body of a delivery of `event`."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def headers(body: bytes, *, secret: str, timestamp: int, webhook_id: str) -> dict[str, str]:
    """Return the headers of a delivery of `body` at `timestamp` (Unix seconds), signed as OpenAI signs it.

    Raises InvalidSecret.
    """
    return {
        "content-type": "application/json",
        "user-agent": "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(body, webhook_id=webhook_id, timestamp=timestamp, key=decode_secret(secret)),
    }


def tamper(headers: Mapping[str, str], body: bytes, part: str | None) -> tuple[dict[str, str], bytes]:
    """Return a delivery with a broken part: `signature`, `timestamp` (an hour old) or `body`. None breaks nothing."""
    broken = dict(headers)
    match part:
        case "signature":
            broken["webhook-signature"] = "v1," + broken["webhook-signature"][:2:-1]
        case "timestamp":
            broken["webhook-timestamp"] = str(int(broken["webhook-timestamp"]) - 3600)
        case "body":
            body += b" "
    return broken, body


def new_secret() -> str:
    """Return a new signing secret."""
    return "whsec_" + b64encode(secrets.token_bytes(32)).decode()
