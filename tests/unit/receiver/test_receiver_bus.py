"""An event's entry, and what EventBridge makes of it."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber
from hypothesis import given, strategies

from openai_webhooks import PublishFailed, TooLarge, unwrap
from receiver import bus

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

BODY = b'{"id": "evt_1", "object": "event", "created_at": 1750861210, "type": "batch.failed", "data": {"id": "b"}}'


def entry_of(body: bytes, *, bus_name: str = "a-bus", source: str = "openai.com") -> "PutEventsRequestEntryTypeDef":
    return bus.entry(body, unwrap(body), bus_name=bus_name, source=source)


class TestEntry:
    def test_it_has_these_fields_and_no_others(self) -> None:
        assert entry_of(BODY) == {
            "EventBusName": "a-bus",
            "Source": "openai.com",
            "DetailType": "batch.failed",
            "Detail": BODY.decode(),
            "Time": datetime(2025, 6, 25, 14, 20, 10, tzinfo=UTC),
        }

    @pytest.mark.parametrize(
        "body",
        [
            pytest.param('  {"type":"x"}\r\n\t', id="white space around"),
            pytest.param('{\n  "type" : "x" ,  "a":1}', id="white space within"),
            pytest.param('{"z": 1, "type": "x", "a": 2}', id="order of keys"),
            pytest.param('{"type": "x", "a": 1, "a": 2}', id="a key twice"),
            pytest.param('{"type": "x", "n": [1.0, 1e2, 1E+2, -0, 0.1000]}', id="spelling of numbers"),
            pytest.param(f'{{"type": "x", "n": 1{"0" * 400}}}', id="a number beyond all types"),
            pytest.param('{"type": "x", "s": "café ☃ 😀\u2028\x7f"}', id="not ASCII"),
            pytest.param(r'{"type": "x", "s": "caf\u00e9 \/ \ud83d\ude00"}', id="escapes"),
        ],
    )
    def test_its_detail_is_the_body_to_the_character(self, body: str) -> None:
        assert entry_of(body.encode())["Detail"] == body

    @given(
        fields=strategies.dictionaries(
            strategies.text(), strategies.text() | strategies.integers() | strategies.none() | strategies.booleans()
        ),
        type_=strategies.text(min_size=1, max_size=128),
        ensure_ascii=strategies.booleans(),
        indent=strategies.sampled_from([None, 1, "\t"]),
    )
    def test_whatever_the_body(
        self, *, fields: dict[str, object], type_: str, ensure_ascii: bool, indent: int | str | None
    ) -> None:
        body = json.dumps(fields | {"type": type_}, ensure_ascii=ensure_ascii, indent=indent)
        entry = entry_of(body.encode())
        assert (entry["Detail"], entry["DetailType"]) == (body, type_)

    @pytest.mark.parametrize("type_", ["batch.failed", "batch.invented"])
    @pytest.mark.parametrize(
        ("created_at", "time"),
        [
            pytest.param("1750861210", datetime(2025, 6, 25, 14, 20, 10, tzinfo=UTC), id="Unix seconds"),
            pytest.param("0", datetime(1970, 1, 1, tzinfo=UTC), id="the epoch"),
            pytest.param("253402300799", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), id="the last that there is"),
            pytest.param("253402300800", None, id="past it"),
            pytest.param("9" * 400, None, id="huge"),
            pytest.param("-1", None, id="negative"),
            pytest.param("1750861210.0", None, id="a float"),
            pytest.param('"1750861210"', None, id="a string"),
            pytest.param("true", None, id="a truth value"),
            pytest.param("null", None, id="null"),
            pytest.param("[1750861210]", None, id="a list"),
        ],
    )
    def test_its_time_is_created_at_where_that_is_a_time(
        self, created_at: str, time: datetime | None, type_: str
    ) -> None:
        body = f'{{"type": "{type_}", "id": "evt_1", "created_at": {created_at}, "data": {{"id": "x"}}}}'
        assert entry_of(body.encode()).get("Time") == time

    def test_without_created_at_it_has_no_time(self) -> None:
        assert "Time" not in entry_of(b'{"type": "batch.failed"}')

    @pytest.mark.parametrize(
        ("source", "type_"),
        [
            pytest.param("openai.com", "batch.failed", id="as usual"),
            pytest.param("s" * 128, "t" * 128, id="long names"),
            pytest.param("é", "☃", id="names that are not ASCII"),
        ],
    )
    def test_a_mebibyte_with_its_time_fits_and_not_a_byte_more(self, source: str, type_: str) -> None:
        start, end = f'{{"type": "{type_}", "s": "'.encode(), b'"}'
        room = 1_048_576 - 14 - len(source.encode()) - len(type_.encode()) - len(start) - len(end)
        assert entry_of(start + b"x" * room + end, source=source)["DetailType"] == type_
        with pytest.raises(TooLarge, match="the event does not fit into the 1048576 bytes of an event bus entry"):
            entry_of(start + b"x" * (room + 1) + end, source=source)


class TestPublish:
    @pytest.fixture
    def stub(self, eventbridge: "EventBridgeClient") -> Stubber:
        stub = Stubber(eventbridge)
        stub.activate()
        return stub

    def test_it_returns_eventbridges_id(self, eventbridge: "EventBridgeClient", stub: Stubber) -> None:
        entry = entry_of(BODY)
        stub.add_response(
            "put_events", {"FailedEntryCount": 0, "Entries": [{"EventId": "id-of-eventbridge"}]}, {"Entries": [entry]}
        )
        assert bus.publish(eventbridge, entry) == "id-of-eventbridge"
        stub.assert_no_pending_responses()

    @pytest.mark.parametrize(
        ("result", "failure"),
        [
            ({"ErrorCode": "InternalException", "ErrorMessage": "canary-7d1f"}, "InternalException"),
            ({"ErrorCode": "MalformedDetail"}, "MalformedDetail"),
            ({"ErrorMessage": "canary-7d1f"}, "no EventId"),
            ({}, "no EventId"),
        ],
    )
    def test_an_entry_without_an_id_was_not_published(
        self, result: dict[str, str], failure: str, eventbridge: "EventBridgeClient", stub: Stubber
    ) -> None:
        stub.add_response("put_events", {"FailedEntryCount": 1, "Entries": [result]})
        self.assert_fails(eventbridge, failure)

    @pytest.mark.parametrize("code", ["ValidationException", "ThrottlingException", "413"])
    def test_a_refusal_is_told_of_by_its_code(self, code: str, eventbridge: "EventBridgeClient", stub: Stubber) -> None:
        stub.add_client_error("put_events", code, "1 validation error detected: Value 'canary-7d1f' at 'entries'")
        self.assert_fails(eventbridge, code)

    @pytest.mark.parametrize(
        "error",
        [
            ReadTimeoutError(endpoint_url="https://aws/"),
            EndpointConnectionError(endpoint_url="https://aws/"),
        ],
        ids=["ReadTimeoutError", "EndpointConnectionError"],
    )
    def test_a_network_that_fails_is_told_of_by_its_class_and_endpoint(
        self, error: Exception, eventbridge: "EventBridgeClient"
    ) -> None:
        def fail(**_: object) -> None:
            raise error

        eventbridge.meta.events.register("before-call", fail)
        self.assert_fails(eventbridge, f"{type(error).__name__} (https://aws/)")

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
    def test_what_is_not_awss_is_not_hidden(self, error: type[BaseException], eventbridge: "EventBridgeClient") -> None:
        def fail(**_: object) -> None:
            raise error

        eventbridge.meta.events.register("before-call", fail)
        with pytest.raises(error):
            bus.publish(eventbridge, entry_of(BODY))

    @staticmethod
    def assert_fails(eventbridge: "EventBridgeClient", failure: str) -> None:
        with pytest.raises(PublishFailed) as raised:
            bus.publish(eventbridge, entry_of(BODY))
        assert str(raised.value) == (
            f"{failure} from PutEvents on bus a-bus: OpenAI redelivers the event; if this goes on, check that the bus "
            "exists and that the function may events:PutEvents on it"
        )
        # Nor in the traceback that a runtime would print.
        assert raised.value.__context__ is None
