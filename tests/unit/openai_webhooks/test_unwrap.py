"""`unwrap` verifies, takes the headers of any web framework, and its events narrow. `make lint` checks the types."""

from collections.abc import Mapping
from email.message import Message
from typing import assert_type

import pytest
from werkzeug.datastructures import Headers

from openai_webhooks import (
    BatchCompletedWebhookEvent,
    Malformed,
    RealtimeCallIncomingWebhookEvent,
    SipHeader,
    Unverified,
    WebhookEvent,
    sign,
    unwrap,
)

KEY = bytes(range(32))
NOW = 1_750_861_210
BODY = b'{"id": "evt_1", "created_at": 1750861210, "type": "batch.completed", "data": {"id": "batch_1"}}'


def signed(body: bytes) -> dict[str, str]:
    signature = sign(body, webhook_id="wh_1", timestamp=NOW, key=KEY)
    return {"webhook-id": "wh_1", "webhook-timestamp": str(NOW), "webhook-signature": signature}


def test_signed_delivery_is_unwrapped() -> None:
    event = unwrap(BODY, signed(BODY), keys=[KEY], now=NOW)
    assert isinstance(event, BatchCompletedWebhookEvent)
    assert event.data.id == "batch_1"


def test_forged_delivery_is_unverified() -> None:
    with pytest.raises(Unverified):
        unwrap(BODY, signed(BODY), keys=[bytes(32)], now=NOW)
    with pytest.raises(Unverified):  # before it looks at the body
        unwrap(b"[]", signed(BODY), keys=[KEY], now=NOW)


def test_signed_body_that_is_no_event_is_malformed() -> None:
    with pytest.raises(Malformed):
        unwrap(b"[]", signed(b"[]"), keys=[KEY], now=NOW)


def test_tolerance_is_300_seconds_unless_given() -> None:
    unwrap(BODY, signed(BODY), keys=[KEY], now=NOW + 300)
    with pytest.raises(Unverified):
        unwrap(BODY, signed(BODY), keys=[KEY], now=NOW + 301)
    with pytest.raises(Unverified):
        unwrap(BODY, signed(BODY), keys=[KEY], now=NOW + 6, tolerance=5)


def test_headers_of_web_frameworks_are_accepted() -> None:
    title_case = {name.title(): value for name, value in signed(BODY).items()}
    flask = Headers(title_case)
    standard_library = Message()
    for name, value in title_case.items():
        standard_library[name] = value
    api_gateway: Mapping[str, str] = signed(BODY)  # Starlette's headers are a Mapping, too

    assert unwrap(BODY, flask, keys=[KEY], now=NOW).type == "batch.completed"
    assert unwrap(BODY, standard_library, keys=[KEY], now=NOW).type == "batch.completed"
    assert unwrap(BODY, api_gateway, keys=[KEY], now=NOW).type == "batch.completed"


def test_class_of_event_narrows_its_type() -> None:
    event = unwrap(BODY, signed(BODY), keys=[KEY], now=NOW)
    assert_type(event, WebhookEvent)
    match event:
        case RealtimeCallIncomingWebhookEvent():
            assert_type(event.data.sip_headers, list[SipHeader])
        case BatchCompletedWebhookEvent(data=data):
            assert_type(event, BatchCompletedWebhookEvent)
            assert_type(data.id, str)
