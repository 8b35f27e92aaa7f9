"""What all models have in common: they keep everything, show nothing and cannot change."""

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from openai_webhooks import CATALOG, RealtimeCallIncomingWebhookEvent, WebhookEvent, parse
from openai_webhooks.models import TypedEvent

CANARY = "c4n4ry"
COMMON = {"id": "evt_1", "object": "event", "created_at": 1750287018}


def event(event_type: str, **fields: Any) -> dict[str, Any]:
    return COMMON | {"type": event_type} | fields


def call(headers: list[Any], **data: Any) -> dict[str, Any]:
    return event("realtime.call.incoming", data={"call_id": "rtc_1", "sip_headers": headers} | data)


def models(value: object) -> list[BaseModel]:
    """Return the models in a value, at every depth."""
    if isinstance(value, list):
        return [model for item in value for model in models(item)]
    if isinstance(value, BaseModel):
        return [value, *(model for _, field in value for model in models(field))]
    return []


# --- Fields are kept


def test_sip_headers_keep_order_and_repeats() -> None:
    headers = [
        {"name": name, "value": value} for name, value in [("Via", "b"), ("To", "x"), ("Via", "a"), ("Via", "b")]
    ]
    incoming = parse(call(headers))
    assert isinstance(incoming, RealtimeCallIncomingWebhookEvent)
    assert [{"name": header.name, "value": header.value} for header in incoming.data.sip_headers] == headers


NEW = {"new": {"n": [1, None, {"deep": True}]}, "model_config": 1, "data_2": "☃"}
SESSION = {"id": "as_1", "environment_type": "none"} | NEW


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(event("response.completed", data={"id": "resp_1"} | NEW) | NEW, id="data"),
        pytest.param(call([{"name": "To", "value": "x"} | NEW], sip_media_security="zrtp", **NEW), id="sip_headers"),
        pytest.param(
            event(
                "agent.session.action_required",
                data={"id": "as_1", "required_action": {"type": "function_call"} | NEW} | NEW,
            ),
            id="required_action",
        ),
        pytest.param(
            event("agent.session.created", data=SESSION | {"connect": {"remote_url": "wss://x"} | NEW}), id="connect"
        ),
    ],
)
def test_new_fields_are_kept(fields: dict[str, Any]) -> None:
    parsed = parse(fields)
    assert isinstance(parsed, TypedEvent)
    assert parsed.drift is None
    assert parsed.model_dump(exclude_unset=True) == fields


# --- Drift


def test_drift_is_set_on_a_copy() -> None:
    plain = WebhookEvent.model_validate(event("response.completed"))
    with pytest.raises(ValidationError) as caught:
        CATALOG["response.completed"].model_validate(event("response.completed"))
    drifted = plain.with_drift(caught.value)
    assert (plain.drift, drifted.drift) == (None, "data: missing")
    assert drifted.model_dump() == plain.model_dump()


def test_drift_names_only_the_first_invalid_header() -> None:
    incoming = parse(call([{"name": "To", "value": CANARY}, *[{}] * 1000]))
    assert incoming.drift == "data.sip_headers.1.name: missing; data.sip_headers.1.value: missing"


# --- Values are hidden


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        pytest.param(
            event("response.completed", data={"id": CANARY, CANARY: CANARY}) | {"new": CANARY}, 2, id="resource"
        ),
        pytest.param(call([{"name": CANARY, "value": CANARY}] * 2, sip_media_security=CANARY), 4, id="call"),
        pytest.param(
            event(
                "agent.session.created",
                data={"id": CANARY, "environment_type": CANARY, "connect": {"remote_url": CANARY}},
            ),
            3,
            id="session",
        ),
        pytest.param(event("response.archived", data={CANARY: CANARY}), 1, id="unknown type"),
        pytest.param(event("response.completed", data=CANARY) | {"object": CANARY}, 1, id="drift"),
    ],
)
def test_text_shows_type_and_id_and_hides_payload(fields: dict[str, Any], count: int) -> None:
    parsed = parse(fields)
    everything = models(parsed)
    assert len(everything) == count
    assert CANARY not in "".join(f"{model!r} {model!s} {model}" for model in everything)
    assert CANARY not in str(parsed.drift)
    assert str(parsed) == f"type={parsed.type!r} id='evt_1' payload='hidden'"
    for model in everything:
        assert repr(model) == f"{type(model).__name__}({', '.join(str(model).split(' '))})"
        assert str(model).endswith("payload='hidden'")


@pytest.mark.parametrize("event_id", [None, [CANARY], {CANARY: 1}])
def test_id_that_is_no_string_is_hidden(event_id: object) -> None:
    assert repr(parse({"type": "t", "id": event_id})) == "WebhookEvent(type='t', payload='hidden')"


def test_validation_error_hides_values() -> None:
    bad = {"id": [CANARY], "type": CANARY, "created_at": CANARY, "object": CANARY, "data": {"id": [CANARY]}}
    for event_class in CATALOG.values():
        with pytest.raises(ValidationError) as caught:
            event_class.model_validate(bad)
        assert caught.value.error_count() >= 4, event_class
        assert CANARY not in f"{caught.value!r} {caught.value!s}", event_class


# --- Models are immutable


def test_models_are_immutable() -> None:
    event_classes: list[type[WebhookEvent]] = [*CATALOG.values(), WebhookEvent]
    constructed = [event_class.model_construct(type="t") for event_class in event_classes]
    nested = models(parse(call([{"name": "To", "value": "x"}])))
    assert len(nested) == 3
    for model in [*constructed, *nested]:
        for name in (next(iter(type(model).model_fields)), "new"):
            with pytest.raises(ValidationError, match="frozen_instance"):
                setattr(model, name, "other")
