"""Where an event becomes too large for a bus, and what that costs."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.receiver.conftest import Receiver, Stack, Start

MIB = 1024 * 1024
SOURCE, TYPE = "openai.com", "response.completed"
TIME = 14


def body_of(size: int, type_: str = TYPE, fill: str = "x") -> bytes:
    start, end = f'{{"type": "{type_}", "id": "'.encode(), b'"}'
    room = size - len(start) - len(end)
    return start + fill.encode() * (room // len(fill.encode())) + b"x" * (room % len(fill.encode())) + end


@pytest.mark.parametrize(
    ("source", "type_", "fill"),
    [
        pytest.param(SOURCE, TYPE, "x", id="ASCII"),
        pytest.param(SOURCE, TYPE, "😀", id="four bytes a character"),
        pytest.param("s" * 128, "é" * 128, "x", id="long names"),
    ],
)
class TestEntry:
    def test_at_the_limit_it_is_published(
        self, source: str, type_: str, fill: str, start: "Start", stack: "Stack"
    ) -> None:
        size = MIB - TIME - len(source.encode()) - len(type_.encode())
        # The queue gets a note of the event: a message holds less than an entry.
        note = {"InputPathsMap": {"type": "$.detail-type"}, "InputTemplate": '{"detail-type": "<type>"}'}
        bus = stack.add_bus(f"large-{stack.table}", InputTransformer=note)
        receiver = start(EVENT_SOURCE=source, EVENT_BUS_NAME=bus)
        assert receiver.deliver(body_of(size, type_, fill)).body == {"outcome": "published"}
        assert stack.arrived() == [{"detail-type": type_}]
        entry = receiver.entry
        assert sum(len(entry[field].encode()) for field in ("Source", "DetailType", "Detail")) + TIME == MIB

    def test_a_byte_above_it_is_too_large(
        self, source: str, type_: str, fill: str, start: "Start", stack: "Stack"
    ) -> None:
        size = MIB - TIME - len(source.encode()) - len(type_.encode())
        receiver = start(EVENT_SOURCE=source)
        answer = receiver.deliver(body_of(size + 1, type_, fill))
        assert (answer.status, answer.body) == (413, {"error": "TooLarge"})
        assert answer.log["event_type"] == type_
        assert stack.arrived() == []
        assert stack.records() == []


class TestBody:
    @pytest.mark.parametrize("encoded", [pytest.param(False, id="text"), pytest.param(True, id="base64")])
    def test_one_that_cannot_fit_is_turned_away_before_any_other_work(
        self, *, encoded: bool, receiver: "Receiver", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def untouched(*_args: object, **_kwargs: object) -> None:
            pytest.fail("the body was worked on")

        monkeypatch.setattr(receiver.app, "verify", untouched)
        monkeypatch.setattr(receiver.app, "unwrap", untouched)
        # API Gateway takes no larger one.
        answer = receiver.deliver(body_of(10 * MIB), encoded=encoded)
        assert (answer.status, answer.metrics) == (413, {"TooLarge": 1})
        assert answer.log["reason"] == "the body has 10485760 bytes, an event bus takes 1048576"
        assert receiver.calls == []

    def test_a_forged_one_that_could_just_fit_is_looked_at(self, receiver: "Receiver") -> None:
        forged = {"webhook-signature": "v1,forged"}
        assert receiver.deliver(body_of(MIB), headers=forged).status == 401
        assert receiver.deliver(body_of(MIB + 1), headers=forged).status == 413
