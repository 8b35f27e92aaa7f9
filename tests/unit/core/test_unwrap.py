"""Bodies: what is an event, what is not, and that nothing of it is lost or shown."""

import json
import re
import time
import traceback
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from pydantic import BaseModel, ValidationError

import openai_webhooks
from openai_webhooks import CATALOGUE, Malformed, RealtimeCallIncomingWebhookEvent, WebhookEvent, parse, unwrap
from openai_webhooks.models import TypedEvent

TYPES = [
    "agent.environment.expired",
    "agent.environment.failed",
    "agent.environment.ready",
    "agent.environment.suspended",
    "agent.session.action_required",
    "agent.session.created",
    "agent.session.failed",
    "agent.session.idle",
    "agent.session.in_progress",
    "batch.cancelled",
    "batch.completed",
    "batch.expired",
    "batch.failed",
    "eval.run.canceled",
    "eval.run.failed",
    "eval.run.succeeded",
    "fine_tuning.job.cancelled",
    "fine_tuning.job.failed",
    "fine_tuning.job.succeeded",
    "live.call.incoming",
    "live.transport.connected",
    "live.transport.incoming",
    "realtime.call.incoming",
    "response.cancelled",
    "response.completed",
    "response.failed",
    "response.incomplete",
    "safety.alert.created",
    "safety.deactivation_issued",
    "safety.org_alert.created",
    "safety.warning_issued",
    "safety_identifier.blocked",
    "video.completed",
    "video.failed",
]
CANARY = "c4n4ry"
MISSING = object()


def response_completed(**changes: Any) -> dict[str, Any]:
    """The guide's sample, with changes; MISSING takes a field away."""
    sample = {
        "object": "event",
        "id": "evt_685343a1381c819085d44c354e1b330e",
        "type": "response.completed",
        "created_at": 1750287018,
        "data": {"id": "resp_abc123"},
    }
    return {name: value for name, value in (sample | changes).items() if value is not MISSING}


def call(headers: list[Any], **changes: Any) -> dict[str, Any]:
    data = {"call_id": "rtc_1", "sip_headers": headers}
    return response_completed(type="realtime.call.incoming", data=data | changes)


def sent(event: WebhookEvent) -> dict[str, Any]:
    return event.model_dump(exclude_unset=True)


# --- What is an event


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b" ", id="blank"),
        pytest.param(b"type=response.completed", id="not JSON"),
        pytest.param(b"{'type': 't'}", id="single quotes"),
        pytest.param(b'{"type": "t",}', id="trailing comma"),
        pytest.param(b'{"type": "t"', id="cut off"),
        pytest.param(b'{"type": "t"} {}', id="two values"),
        pytest.param(b'{"type": "t", "n": "\xff"}', id="not UTF-8"),
        pytest.param(b'{"type": "t", "n": "\xed\xa0\x80"}', id="surrogate as UTF-8"),
        pytest.param('{"type": "t"}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'\xef\xbb\xbf{"type": "t"}', id="BOM"),
        pytest.param(rb'{"type": "t", "n": "\ud800"}', id="lone surrogate escape"),
        pytest.param(rb'{"type": "\udfff"}', id="lone surrogate escape in the type"),
        pytest.param(b'{"type": "t", "n": "\n"}', id="newline in a string"),
        pytest.param(b'{"type": "t", "n": NaN}', id="NaN"),
        pytest.param(b'{"type": "t", "n": Infinity}', id="Infinity"),
        pytest.param(b'{"type": "t", "n": -Infinity}', id="-Infinity"),
        pytest.param(b'{"type": "t", "n": 01}', id="leading zero"),
        pytest.param(b'{"type": "t", "n": ' + b"9" * 5000 + b"}", id="number of 5,000 digits"),
        pytest.param(b'{"type": "t", "n": %b0%b}' % (b"[" * 200, b"]" * 200), id="201 levels"),
        pytest.param(b'[{"type": "t"}]', id="list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"t"', id="string"),
        pytest.param(b"1", id="number"),
        pytest.param(b"{}", id="empty object"),
        pytest.param(b'{"Type": "t"}', id="type missing"),
        pytest.param(b'{"type": ""}', id="type empty"),
        pytest.param(b'{"type": null}', id="type null"),
        pytest.param(b'{"type": 1}', id="type a number"),
        pytest.param(b'{"type": ["t"]}', id="type a list"),
        pytest.param(b'{"type": "%b"}' % (b"t" * 129), id="type of 129 characters"),
    ],
)
def test_not_an_event(body: bytes) -> None:
    with pytest.raises(Malformed):
        unwrap(body)


@pytest.mark.parametrize(
    "event_type",
    [
        pytest.param("t", id="1 character"),
        pytest.param("t" * 128, id="128 characters"),
        pytest.param("é" * 128, id="128 characters of two bytes"),
        pytest.param("response.completed ", id="a known one and a space"),
        pytest.param("Response.Completed", id="a known one in another case"),
        pytest.param("response.archived", id="one that OpenAI adds tomorrow"),
    ],
)
def test_unknown_type_is_kept_whole(event_type: str) -> None:
    fields = response_completed(type=event_type, created_at="soon", data=[{"n": None}, 1.5, "☃"], drift=1, _drift=2)
    event = unwrap(json.dumps(fields).encode())
    assert type(event) is WebhookEvent
    assert event.type == event_type
    assert event.drift is None
    assert event.model_dump() == fields


@pytest.mark.parametrize("event_type", TYPES)
def test_known_type_that_fits_nothing_is_kept_whole(event_type: str) -> None:
    event = unwrap(json.dumps({"type": event_type}).encode())
    assert type(event) is WebhookEvent
    assert event.drift
    assert event.drift.startswith("id: missing; created_at: missing; ")
    assert "data: missing" in event.drift
    assert event.model_dump() == {"type": event_type}


@pytest.mark.parametrize(
    ("fields", "drift"),
    [
        pytest.param(response_completed(data=MISSING), "data: missing", id="data missing"),
        pytest.param(response_completed(data=None), "data: model_type", id="data null"),
        pytest.param(response_completed(data=[CANARY]), "data: model_type", id="data a list"),
        pytest.param(response_completed(data={"ID": CANARY}), "data.id: missing", id="data.id missing"),
        pytest.param(response_completed(data={"id": 1}), "data.id: string_type", id="data.id a number"),
        pytest.param(response_completed(id=MISSING), "id: missing", id="id missing"),
        pytest.param(response_completed(created_at=CANARY), "created_at: int_type", id="created_at text"),
        pytest.param(response_completed(created_at="1750287018"), "created_at: int_type", id="created_at a string"),
        pytest.param(response_completed(created_at=1750287018.0), "created_at: int_type", id="created_at a float"),
        pytest.param(response_completed(created_at=True), "created_at: int_type", id="created_at a boolean"),
        pytest.param(response_completed(object=CANARY), "object: literal_error", id="object another"),
        pytest.param(
            response_completed(id=None, created_at=None),
            "id: string_type; created_at: int_type",
            id="two fields",
        ),
        pytest.param(
            call([{"name": "To", "value": CANARY}, {"name": CANARY}]),
            "data.sip_headers.1.value: missing",
            id="in a list",
        ),
        pytest.param(
            response_completed(type="safety.alert.created", object=MISSING), "object: missing", id="object missing"
        ),
    ],
)
def test_drift(fields: dict[str, Any], drift: str) -> None:
    event = unwrap(json.dumps(fields).encode())
    assert type(event) is WebhookEvent
    assert event.drift == drift
    assert event.model_dump() == fields


def test_drift_tells_of_the_first_wrong_header_only() -> None:
    """The caller decides how many there are."""
    event = parse(call([{"name": "To", "value": CANARY}, *[{}] * 1000]))
    assert event.drift == "data.sip_headers.1.name: missing; data.sip_headers.1.value: missing"


def test_known_type() -> None:
    event = unwrap(json.dumps(response_completed()).encode())
    assert isinstance(event, openai_webhooks.ResponseCompletedWebhookEvent)
    assert event.drift is None
    assert (event.object, event.created_at, event.data.id) == ("event", 1750287018, "resp_abc123")
    assert sent(event) == response_completed()


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(response_completed(), id="known"),
        pytest.param(response_completed(type="response.archived"), id="unknown"),
        pytest.param(response_completed(data=None), id="drifted"),
    ],
)
def test_parse_decoded_detail(fields: dict[str, Any]) -> None:
    event, unwrapped = parse(fields), unwrap(json.dumps(fields).encode())
    assert event == unwrapped
    assert event.drift == unwrapped.drift


@pytest.mark.parametrize(
    "detail",
    [
        pytest.param(None, id="null"),
        pytest.param([response_completed()], id="list"),
        pytest.param(json.dumps(response_completed()), id="JSON not decoded"),
        pytest.param({}, id="no type"),
        pytest.param({"type": "\ud800"}, id="lone surrogate in the type"),
        pytest.param({"type": "t", "\ud800": 1}, id="lone surrogate in a name"),
        pytest.param({"type": "t", 1: 1}, id="name that is not a string"),
    ],
)
def test_parse_refuses(detail: object) -> None:
    with pytest.raises(Malformed):
        parse(detail)


# --- Size


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"type": "t", "n": %b}' % (b"[" * 10_000 + b"]" * 10_000), id="10,000 lists deep"),
        pytest.param(b'{"n":' * 10_000 + b"1" + b"}" * 10_000, id="10,000 objects deep"),
        pytest.param(b"[" * 10_000_000, id="10 MB of brackets"),
        pytest.param(b"9" * 10_000_000, id="10 MB of digits"),
    ],
)
def test_hostile_body_is_refused_at_once(body: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(Malformed):
        unwrap(body)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "n",
    [
        pytest.param('"%s"' % ("x" * 10_000_000), id="string of 10 MB"),
        pytest.param("[%s0]" % ("0," * 1_000_000), id="1,000,000 numbers"),
        pytest.param("[" * 199 + "0" + "]" * 199, id="200 levels"),
    ],
)
def test_large_body_is_unwrapped(n: str) -> None:
    start = time.perf_counter()
    event = unwrap(b'{"type": "t", "n": %b}' % n.encode())
    assert time.perf_counter() - start < 2
    assert event.model_dump() == {"type": "t", "n": json.loads(n)}


# --- Nothing is lost


def test_sip_headers_keep_order_and_repeats() -> None:
    headers = [
        {"name": name, "value": value} for name, value in [("Via", "b"), ("To", "x"), ("Via", "a"), ("Via", "b")]
    ]
    event = parse(call(headers))
    assert isinstance(event, RealtimeCallIncomingWebhookEvent)
    assert [(header.name, header.value) for header in event.data.sip_headers] == [
        ("Via", "b"),
        ("To", "x"),
        ("Via", "a"),
        ("Via", "b"),
    ]


NEW = {"new": {"n": [1, None, {"deep": True}]}, "model_config": 1, "data_2": "☃"}
SESSION = {"id": "as_1", "environment_type": "none"} | NEW


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(response_completed(data={"id": "resp_1"} | NEW) | NEW, id="data"),
        pytest.param(call([{"name": "To", "value": "x"} | NEW], sip_media_security="zrtp", **NEW), id="sip_headers"),
        pytest.param(
            response_completed(
                type="agent.session.action_required",
                data={"id": "as_1", "required_action": {"type": "function_call"} | NEW} | NEW,
            ),
            id="required_action",
        ),
        pytest.param(
            response_completed(
                type="agent.session.created", data=SESSION | {"connect": {"remote_url": "wss://x"} | NEW}
            ),
            id="connect",
        ),
    ],
)
def test_new_fields_are_kept(fields: dict[str, Any]) -> None:
    event = unwrap(json.dumps(fields).encode())
    assert isinstance(event, TypedEvent)
    assert event.drift is None
    assert sent(event) == fields


JSON_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | JSON_TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(JSON_TEXT, children, max_size=3),
    max_leaves=8,
)


@settings(derandomize=True, deadline=None)
@given(
    event_type=st.sampled_from([*TYPES, "response.archived"]),
    fields=st.dictionaries(st.sampled_from(["id", "object", "created_at", "data"]) | JSON_TEXT, JSON, max_size=6),
)
def test_any_object_with_a_type_comes_out_as_it_came(event_type: str, fields: dict[str, Any]) -> None:
    fields |= {"type": event_type}
    assert sent(unwrap(json.dumps(fields).encode())) == fields


# --- Nothing is shown


def models(value: object) -> list[BaseModel]:
    """The models in a value, at every depth."""
    if isinstance(value, list):
        return [model for item in value for model in models(item)]
    if isinstance(value, BaseModel):
        return [value, *(model for _, field in value for model in models(field))]
    return []


@pytest.mark.parametrize(
    ("fields", "count"),
    [
        pytest.param(response_completed(id=CANARY, data={"id": CANARY, CANARY: CANARY}, new=CANARY), 2, id="resource"),
        pytest.param(call([{"name": CANARY, "value": CANARY}] * 2, sip_media_security=CANARY), 4, id="call"),
        pytest.param(
            response_completed(
                type="agent.session.created",
                data={"id": CANARY, "environment_type": CANARY, "connect": {"remote_url": CANARY}},
            ),
            3,
            id="session",
        ),
        pytest.param(response_completed(type="response.archived", id=CANARY, data={CANARY: CANARY}), 1, id="unknown"),
        pytest.param(response_completed(id=[CANARY], object=CANARY, data=CANARY), 1, id="drifted"),
    ],
)
def test_text_of_events_is_silent_about_values(fields: dict[str, Any], count: int) -> None:
    event = parse(fields)
    everything = models(event)
    assert len(everything) == count
    assert CANARY not in "".join(f"{model!r} {model!s} {model}" for model in everything)
    assert CANARY not in str(event.drift)
    assert repr(event) == f"{type(event).__name__}(type={event.type!r})"


@pytest.mark.parametrize("event_type", TYPES)
def test_validation_errors_are_silent_about_values(event_type: str) -> None:
    bad = {"id": [CANARY], "type": CANARY, "created_at": CANARY, "object": CANARY, "data": {"id": [CANARY]}}
    with pytest.raises(ValidationError) as caught:
        CATALOGUE[event_type].model_validate(bad)
    assert caught.value.error_count() >= 4
    assert CANARY not in f"{caught.value!r} {caught.value!s}"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(CANARY, id="not JSON"),
        pytest.param(f'["{CANARY}"]', id="list"),
        pytest.param(f'{{"type": ["{CANARY}"]}}', id="type not a string"),
        pytest.param(f'{{"type": "{CANARY * 30}"}}', id="type too long"),
        pytest.param(f'{{"{CANARY}": "\xff', id="cut off"),
    ],
)
def test_malformed_is_silent_about_values(body: str) -> None:
    with pytest.raises(Malformed) as caught:
        unwrap(body.encode())
    assert CANARY not in "".join(traceback.format_exception(caught.value))


# --- The catalogue


def test_catalogue() -> None:
    assert sorted(CATALOGUE) == TYPES
    assert len(TYPES) == 34


@pytest.mark.parametrize("event_type", TYPES)
def test_class_of_a_type(event_type: str) -> None:
    event_class = CATALOGUE[event_type]
    camel_case = "".join(word.capitalize() for word in re.split(r"[._]", event_type))
    assert event_class.__name__ == f"{camel_case}WebhookEvent"
    assert event_class.__doc__
    assert getattr(openai_webhooks, event_class.__name__) is event_class


@pytest.mark.parametrize("event_type", [*TYPES, "response.archived"])
def test_events_are_frozen(event_type: str) -> None:
    event = CATALOGUE.get(event_type, WebhookEvent).model_construct(type=event_type)
    for name in ("type", "new"):
        with pytest.raises(ValidationError, match="frozen_instance"):
            setattr(event, name, "other")


def test_data_is_frozen() -> None:
    for model in models(parse(call([{"name": "To", "value": "x"}]))):
        with pytest.raises(ValidationError, match="frozen_instance"):
            setattr(model, next(iter(type(model).model_fields)), "other")
