"""A plausible event of each type in the catalogue, and signed deliveries of it."""

import json
import secrets
from base64 import b64encode
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from openai_webhooks import CATALOGUE, decode_secret, sign

# What signs where no secret of OpenAI's is in play: events/, `webhooks dev` and `webhooks demo`. No secret at all.
DEVELOPMENT_SECRET = "whsec_ZGV2ZWxvcG1lbnQtb25seS1zaWduaW5nLWtleSEhISE="  # noqa: S105  # public on purpose

# What OpenAI's ids begin with, by the first part of the type and by the field.
_ID_PREFIXES = {
    "response": "resp_",
    "batch": "batch_",
    "fine_tuning": "ftjob-",
    "eval": "evalrun_",
    "video": "video_",
    "agent": "sess_",
    "safety": "alert_",
}
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
    "model": "gpt-5",
    "project_id": "proj_abc123",
    "request_id": "req_abc123",
}


def sample(event_type: str, *, created_at: int, event_id: str = "evt_abc123") -> dict[str, Any]:
    """An event as OpenAI would send it; one of an unknown type has only an id for its data."""
    data: dict[str, Any] = {"id": _ID_PREFIXES.get(event_type.partition(".")[0], "obj_") + "abc123"}
    if event_type in CATALOGUE:
        model = _model(CATALOGUE[event_type].model_fields["data"].annotation)
        data = {name: _value(name, field, data) for name, field in model.model_fields.items()}
    return {"id": event_id, "object": "event", "created_at": created_at, "type": event_type, "data": data}


def _value(name: str, field: FieldInfo, data: Mapping[str, Any]) -> Any:
    if name in data:
        return data[name]
    if name in _VALUES:
        return _VALUES[name]
    if get_origin(field.annotation) is Literal:
        return get_args(field.annotation)[0]
    return {inner: _value(inner, of, {}) for inner, of in _model(field.annotation).model_fields.items()}


def _model(annotation: Any) -> type[BaseModel]:
    if get_origin(annotation) is UnionType:
        annotation = next(member for member in get_args(annotation) if member is not NoneType)
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        raise TypeError(f"no sample value for {annotation}: add one to {__name__}")
    return annotation


def new_id(prefix: str) -> str:
    """A fresh id in OpenAI's form: `wh_…` for a delivery, `evt_…` for an event."""
    return prefix + secrets.token_hex(16)


def encode(event: Any) -> bytes:
    """The body that carries an event."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()


def headers(body: bytes, *, secret: str, timestamp: int, webhook_id: str) -> dict[str, str]:
    """The headers with which OpenAI delivers `body` at `timestamp` (Unix seconds)."""
    return {
        "content-type": "application/json",
        "user-agent": "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(body, webhook_id=webhook_id, timestamp=timestamp, key=decode_secret(secret)),
    }


def new_secret() -> str:
    """A signing secret that nobody knows."""
    return "whsec_" + b64encode(secrets.token_bytes(32)).decode()
