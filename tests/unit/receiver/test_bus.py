"""The entry of an event, and what EventBridge answers."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import BotoCoreError, EndpointConnectionError, ReadTimeoutError
from botocore.stub import Stubber
from hypothesis import given, settings, strategies

from openai_webhooks import parse_body
from receiver.bus import MAX_ENTRY_BYTES, EventBus
from receiver.rejections import PublishFailed, TooLarge

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

BODY = b'{"id": "evt_1", "object": "event", "created_at": 1750861210, "type": "batch.failed", "data": {"id": "b"}}'


@contextmanager
def raising(client: "EventBridgeClient", error: BaseException) -> Iterator[None]:
    """Let each call of a client raise an error, until the end of the `with` statement."""

    def fail(**_: object) -> None:
        raise error

    client.meta.events.register("before-call", fail)
    yield
    client.meta.events.unregister("before-call", fail)


@pytest.fixture(scope="module")
def eventbridge() -> Iterator["EventBridgeClient"]:
    client = boto3.client("events", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    yield client
    client.close()


def to_entry(body: bytes, *, source: str = "openai.com", endpoint: str = "") -> Any:
    # Without a client: an entry is made without a call.
    bus = EventBus(None, name="a-bus", source=source)  # type: ignore[arg-type]
    return bus.to_entry(body, parse_body(body), endpoint)


class TestEntry:
    def test_entry_has_type_body_and_time(self) -> None:
        assert to_entry(BODY) == {
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
            pytest.param('{"type": "x", "a": 1, "a": 2}', id="repeated key"),
            pytest.param('{"type": "x", "n": [1.0, 1e2, 1E+2, -0, 0.1000]}', id="spelling of numbers"),
            pytest.param(f'{{"type": "x", "n": 1{"0" * 400}}}', id="huge number"),
            pytest.param('{"type": "x", "s": "café ☃ 😀\u2028\x7f"}', id="not ASCII"),
            pytest.param(r'{"type": "x", "s": "caf\u00e9 \/ \ud83d\ude00"}', id="escapes"),
        ],
    )
    def test_detail_is_the_body_verbatim(self, body: str) -> None:
        assert to_entry(body.encode())["Detail"] == body

    @settings(derandomize=True, deadline=None, max_examples=50)
    @given(
        fields=strategies.dictionaries(
            strategies.text(), strategies.text() | strategies.integers() | strategies.none() | strategies.booleans()
        ),
        type_=strategies.text(min_size=1, max_size=128),
        ensure_ascii=strategies.booleans(),
        indent=strategies.sampled_from([None, 1, "\t"]),
    )
    def test_detail_of_any_body_is_verbatim(
        self, *, fields: dict[str, object], type_: str, ensure_ascii: bool, indent: int | str | None
    ) -> None:
        body = json.dumps(fields | {"type": type_}, ensure_ascii=ensure_ascii, indent=indent)
        entry = to_entry(body.encode())
        assert (entry["Detail"], entry["DetailType"]) == (body, type_)

    @pytest.mark.parametrize("type_", ["batch.failed", "batch.invented"])
    @pytest.mark.parametrize(
        ("created_at", "time"),
        [
            pytest.param("1750861210", datetime(2025, 6, 25, 14, 20, 10, tzinfo=UTC), id="Unix seconds"),
            pytest.param("0", datetime(1970, 1, 1, tzinfo=UTC), id="the epoch"),
            pytest.param("253402300799", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), id="last second of 9999"),
            pytest.param("253402300800", None, id="year 10,000"),
            pytest.param("9" * 400, None, id="huge"),
            pytest.param("-1", None, id="negative"),
            pytest.param("1750861210.0", None, id="float"),
            pytest.param('"1750861210"', None, id="string"),
            pytest.param("true", None, id="boolean"),
            pytest.param("null", None, id="null"),
            pytest.param("[1750861210]", None, id="list"),
        ],
    )
    def test_time_is_created_at_if_valid(self, created_at: str, time: datetime | None, type_: str) -> None:
        body = f'{{"type": "{type_}", "id": "evt_1", "created_at": {created_at}, "data": {{"id": "x"}}}}'
        assert to_entry(body.encode()).get("Time") == time

    def test_named_endpoint_is_a_resource(self) -> None:
        assert to_entry(BODY, endpoint="project-a")["Resources"] == ["openai:endpoint/project-a"]

    def test_entry_without_created_at_has_no_time(self) -> None:
        assert "Time" not in to_entry(b'{"type": "batch.failed"}')

    @pytest.mark.parametrize(
        ("source", "type_", "fill", "endpoint"),
        [
            pytest.param("openai.com", "batch.failed", "x", "", id="ASCII"),
            pytest.param("openai.com", "batch.failed", "😀", "", id="four bytes a character"),
            pytest.param("s" * 128, "t" * 128, "x", "n" * 64, id="long names"),
            pytest.param("é", "☃", "x", "a", id="names that are not ASCII"),
        ],
    )
    def test_size_limit_of_entry_is_exact(self, source: str, type_: str, fill: str, endpoint: str) -> None:
        start, end = f'{{"type": "{type_}", "s": "'.encode(), b'"}'
        resource = len(f"openai:endpoint/{endpoint}") if endpoint else 0
        room = MAX_ENTRY_BYTES - 14 - len(source.encode()) - len(type_.encode()) - resource - len(start) - len(end)
        size = len(fill.encode())
        text = fill.encode() * (room // size) + b"x" * (room % size)
        entry = to_entry(start + text + end, source=source, endpoint=endpoint)
        texts = [entry["Source"], entry["DetailType"], entry["Detail"], *entry.get("Resources", [])]
        assert 14 + sum(len(text.encode()) for text in texts) == MAX_ENTRY_BYTES
        with pytest.raises(TooLarge):
            to_entry(start + text + b"x" + end, source=source, endpoint=endpoint)


class TestPublish:
    @pytest.fixture
    def bus(self, eventbridge: "EventBridgeClient") -> EventBus:
        return EventBus(eventbridge, name="a-bus", source="openai.com")

    @pytest.fixture
    def stub(self, eventbridge: "EventBridgeClient") -> Iterator[Stubber]:
        with Stubber(eventbridge) as stub:
            yield stub

    def test_publish_returns_id_of_eventbridge(self, bus: EventBus, stub: Stubber) -> None:
        entry = to_entry(BODY)
        answer = {"FailedEntryCount": 0, "Entries": [{"EventId": "id-of-eventbridge"}]}
        stub.add_response("put_events", answer, {"Entries": [entry]})
        assert bus.publish(entry) == "id-of-eventbridge"
        stub.assert_no_pending_responses()

    @pytest.mark.parametrize("failed", [0, 1])
    @pytest.mark.parametrize(
        ("result", "code"),
        [
            ({"ErrorCode": "InternalException", "ErrorMessage": "canary-7d1f"}, "InternalException"),
            ({"ErrorCode": "ThrottlingException"}, "ThrottlingException"),
            ({"ErrorMessage": "canary-7d1f"}, "no EventId"),
            ({}, "no EventId"),
        ],
    )
    def test_entry_without_id_raises_publish_failed(
        self, result: dict[str, str], code: str, failed: int, bus: EventBus, stub: Stubber
    ) -> None:
        stub.add_response("put_events", {"FailedEntryCount": failed, "Entries": [result]})
        self.assert_fails(bus, code)

    @pytest.mark.parametrize("code", ["ValidationException", "413"])
    def test_refused_call_raises_publish_failed(self, code: str, bus: EventBus, stub: Stubber) -> None:
        stub.add_client_error("put_events", code, "1 validation error detected: Value 'canary-7d1f' at 'entries'")
        self.assert_fails(bus, code)

    @pytest.mark.parametrize("error", [ReadTimeoutError, EndpointConnectionError])
    def test_network_failure_is_named_by_class_and_endpoint(
        self, error: type[BotoCoreError], eventbridge: "EventBridgeClient", bus: EventBus
    ) -> None:
        with raising(eventbridge, error(endpoint_url="https://aws/")):
            self.assert_fails(bus, f"{error.__name__} (https://aws/)")

    @pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, MemoryError])
    def test_unexpected_error_of_client_is_not_hidden(
        self, error: type[BaseException], eventbridge: "EventBridgeClient", bus: EventBus
    ) -> None:
        with raising(eventbridge, error()), pytest.raises(error):
            bus.publish(to_entry(BODY))

    @staticmethod
    def assert_fails(bus: EventBus, code: str) -> None:
        with pytest.raises(PublishFailed) as raised:
            bus.publish(to_entry(BODY))
        assert str(raised.value).startswith(f"{code} from PutEvents on bus a-bus")
        assert "canary" not in str(raised.value)
        # The runtime would print the context with the traceback.
        assert raised.value.__context__ is None
