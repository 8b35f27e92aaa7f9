"""Bodies, events and the catalog."""

import json
import re
import time
import traceback
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

import openai_webhooks
from openai_webhooks import CATALOG, Malformed, WebhookEvent, events, parse, parse_body
from openai_webhooks.models import TypedEvent

CANARY = "c4n4ry"
MISSING = object()


def response_completed(**changes: Any) -> dict[str, Any]:
    """Return the sample of OpenAI's guide, with changes. MISSING removes a field."""
    sample = {
        "object": "event",
        "id": "evt_685343a1381c819085d44c354e1b330e",
        "type": "response.completed",
        "created_at": 1750287018,
        "data": {"id": "resp_abc123"},
    }
    return {name: value for name, value in (sample | changes).items() if value is not MISSING}


# --- Bodies


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
        pytest.param(b'{"Type": "t"}', id="no type"),
        pytest.param(b'{"type": ""}', id="type is empty"),
        pytest.param(b'{"type": null}', id="type is null"),
        pytest.param(b'{"type": 1}', id="type is a number"),
        pytest.param(b'{"type": ["t"]}', id="type is a list"),
        pytest.param(b'{"type": "%b"}' % (b"t" * 129), id="type of 129 characters"),
    ],
)
def test_invalid_body_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse_body(body)


@pytest.mark.parametrize(
    "event_type",
    [
        pytest.param("t", id="1 character"),
        pytest.param("t" * 128, id="128 characters"),
        pytest.param("é" * 128, id="128 characters of two bytes"),
        pytest.param("response.completed ", id="known type and a space"),
        pytest.param("Response.Completed", id="known type in another case"),
        pytest.param("response.archived", id="new type"),
    ],
)
def test_event_of_unknown_type_is_kept(event_type: str) -> None:
    fields = response_completed(type=event_type, created_at="soon", data=[{"n": None}, 1.5, "☃"], drift=1, _drift=2)
    event = parse_body(json.dumps(fields).encode())
    assert type(event) is WebhookEvent
    assert event.type == event_type
    assert event.drift is None
    assert event.model_dump() == fields


def test_event_without_fields_is_kept_with_drift() -> None:
    for event_type in CATALOG:
        event = parse_body(json.dumps({"type": event_type}).encode())
        assert type(event) is WebhookEvent, event_type
        assert event.drift, event_type
        assert event.drift.startswith("id: missing; created_at: missing; "), event_type
        assert "data: missing" in event.drift, event_type
        assert event.model_dump() == {"type": event_type}


@pytest.mark.parametrize(
    ("fields", "drift"),
    [
        pytest.param(response_completed(data=MISSING), "data: missing", id="no data"),
        pytest.param(response_completed(data=None), "data: model_type", id="data is null"),
        pytest.param(response_completed(data=[CANARY]), "data: model_type", id="data is a list"),
        pytest.param(response_completed(data={"ID": CANARY}), "data.id: missing", id="no data.id"),
        pytest.param(response_completed(data={"id": 1}), "data.id: string_type", id="data.id is a number"),
        pytest.param(response_completed(id=MISSING), "id: missing", id="no id"),
        pytest.param(response_completed(created_at=CANARY), "created_at: int_type", id="created_at is text"),
        pytest.param(response_completed(created_at="1750287018"), "created_at: int_type", id="created_at is a string"),
        pytest.param(response_completed(created_at=1750287018.0), "created_at: int_type", id="created_at is a float"),
        pytest.param(response_completed(created_at=True), "created_at: int_type", id="created_at is a boolean"),
        pytest.param(response_completed(object=CANARY), "object: literal_error", id="object with another value"),
        pytest.param(
            response_completed(id=None, created_at=None),
            "id: string_type; created_at: int_type",
            id="two fields",
        ),
        pytest.param(
            response_completed(
                type="realtime.call.incoming",
                data={"call_id": "rtc_1", "sip_headers": [{"name": "To", "value": CANARY}, {"name": CANARY}]},
            ),
            "data.sip_headers.1.value: missing",
            id="list item",
        ),
        pytest.param(
            response_completed(data=None, drift=CANARY, _drift=CANARY), "data: model_type", id="fields named drift"
        ),
    ],
)
def test_drift_names_fields_without_values(fields: dict[str, Any], drift: str) -> None:
    event = parse_body(json.dumps(fields).encode())
    assert type(event) is WebhookEvent
    assert event.drift == drift
    assert event.model_dump() == fields


def test_event_of_known_type_is_typed() -> None:
    event = parse_body(json.dumps(response_completed()).encode())
    assert isinstance(event, openai_webhooks.ResponseCompletedWebhookEvent)
    assert event.drift is None
    assert (event.object, event.created_at, event.data.id) == ("event", 1750287018, "resp_abc123")
    assert event.model_dump(exclude_unset=True) == response_completed()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"type": "t", "n": %b}' % (b"[" * 10_000 + b"]" * 10_000), id="10,000 lists deep"),
        pytest.param(b'{"n":' * 10_000 + b"1" + b"}" * 10_000, id="10,000 objects deep"),
        pytest.param(b"[" * 10_000_000, id="10 MB of brackets"),
        pytest.param(b"9" * 10_000_000, id="10 MB of digits"),
    ],
)
def test_hostile_body_is_rejected_within_a_second(body: bytes) -> None:
    start = time.perf_counter()
    with pytest.raises(Malformed):
        parse_body(body)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize(
    "n",
    [
        pytest.param('"%s"' % ("x" * 10_000_000), id="string of 10 MB"),
        pytest.param("[%s0]" % ("0," * 1_000_000), id="1,000,000 numbers"),
        pytest.param("[" * 199 + "0" + "]" * 199, id="200 levels"),
    ],
)
def test_large_body_is_parsed_within_two_seconds(n: str) -> None:
    start = time.perf_counter()
    event = parse_body(b'{"type": "t", "n": %b}' % n.encode())
    assert time.perf_counter() - start < 2
    assert event.model_dump() == {"type": "t", "n": json.loads(n)}


JSON_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | JSON_TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(JSON_TEXT, children, max_size=3),
    max_leaves=8,
)


@settings(derandomize=True, deadline=None)
@given(
    event_type=st.sampled_from([*CATALOG, "response.archived"]),
    fields=st.dictionaries(st.sampled_from(["id", "object", "created_at", "data"]) | JSON_TEXT, JSON, max_size=6),
)
def test_no_field_is_lost(event_type: str, fields: dict[str, Any]) -> None:
    fields |= {"type": event_type}
    event = parse_body(json.dumps(fields).encode())
    assert event.model_dump(exclude_unset=True) == fields


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(CANARY, id="not JSON"),
        pytest.param(f'["{CANARY}"]', id="list"),
        pytest.param(f'{{"type": ["{CANARY}"]}}', id="type is not a string"),
        pytest.param(f'{{"type": "{CANARY * 30}"}}', id="type too long"),
        pytest.param(f'{{"{CANARY}": "\xff', id="cut off"),
    ],
)
def test_malformed_error_hides_body(body: str) -> None:
    with pytest.raises(Malformed) as caught:
        parse_body(body.encode())
    assert CANARY not in "".join(traceback.format_exception(caught.value))


# --- Decoded JSON


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param(response_completed(), id="known"),
        pytest.param(response_completed(type="response.archived"), id="unknown"),
        pytest.param(response_completed(data=None), id="drifted"),
    ],
)
def test_detail_and_body_are_the_same_event(fields: dict[str, Any]) -> None:
    event, of_body = parse(fields), parse_body(json.dumps(fields).encode())
    assert event == of_body
    assert event.drift == of_body.drift


@pytest.mark.parametrize(
    "detail",
    [
        pytest.param(None, id="null"),
        pytest.param([response_completed()], id="list"),
        pytest.param(json.dumps(response_completed()), id="JSON not decoded"),
        pytest.param({}, id="no type"),
        pytest.param({"type": "\ud800"}, id="lone surrogate in the type"),
        pytest.param({"type": "t", "\ud800": 1}, id="lone surrogate in a name"),
        pytest.param({"type": "t", 1: 1}, id="name is not a string"),
    ],
)
def test_invalid_detail_is_malformed(detail: object) -> None:
    with pytest.raises(Malformed):
        parse(detail)


# --- The catalog


def test_catalog_has_each_event_class() -> None:
    defined = {
        value.__name__: value
        for value in vars(events).values()
        if isinstance(value, type) and issubclass(value, TypedEvent) and value.__module__ == events.__name__
    }
    listed = [event_class.__name__ for event_class in CATALOG.values()]
    assert sorted(listed) == sorted(defined)


def test_event_class_is_named_for_its_type_documented_and_exported() -> None:
    for event_type, event_class in CATALOG.items():
        camel_case = "".join(word.capitalize() for word in re.split(r"[._]", event_type))
        assert event_class.__name__ == f"{camel_case}WebhookEvent"
        assert event_class.__doc__, event_type
        assert vars(openai_webhooks).get(event_class.__name__) is event_class
        assert event_class.model_config.get("defer_build"), event_type  # a cold start builds only what it needs
