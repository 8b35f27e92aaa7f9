"""What each function does with its events. examples/tests/test_once.py checks that it does so once."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, Final

import pytest

from examples.tests.support.example_functions import aws_client, create_table, delivered, started
from openai_webhooks_cli.local.function_pool import FunctionFailed, FunctionPool
from tests.support.moto_stack import moto_server

COMPLETED: Final = "OnResponseCompletedFunction"
BATCH: Final = "OnBatchFunction"
FAILURE: Final = "OnFailureFunction"
CALL: Final = "OnCallFunction"
TABLE: Final = "events-of-subscriber"
CANARY: Final = "sip:canary@example.com"


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, FunctionPool]]:
    """The functions, by logical id. At DEBUG they log the most that the template allows."""
    settings: dict[str, Any] = {"logs": tmp_path_factory.mktemp("logs"), "references": {"HandledEventsTable": TABLE}}
    with ExitStack() as stack:
        url = stack.enter_context(moto_server())
        create_table(aws_client(url, "dynamodb"), "subscriber", "HandledEventsTable", TABLE)
        yield {
            name: stack.enter_context(started("subscriber", name, aws_url=url, LogLevel="DEBUG", **settings))
            for name in (COMPLETED, BATCH, FAILURE, CALL)
        }


def handle(functions: dict[str, FunctionPool], name: str, event: dict[str, Any]) -> list[dict[str, Any]]:
    """Handle an event. Return the lines that the function logs. They never have the payload, and a copy adds none."""
    log = functions[name].invoke(event).log
    assert CANARY not in "".join(log)
    assert functions[name].invoke(event).log == [], "A copy is handled again."
    return [json.loads(line) for line in log]


def changed(event_type: str, *, like: str = "", **fields: Any) -> dict[str, Any]:
    """Return an event whose fields differ from those that OpenAI documents."""
    event = delivered(like or event_type)
    event["detail"] |= {"type": event_type} | fields
    return event


HANDLED: Final[dict[tuple[str, str], tuple[str, str]]] = {
    (COMPLETED, "response.completed"): ("INFO", "response_id"),
    **dict.fromkeys([(BATCH, f"batch.{end}") for end in ("completed", "expired", "cancelled")], ("INFO", "batch_id")),
    (BATCH, "batch.failed"): ("WARNING", "batch_id"),
    **dict.fromkeys(
        [(FAILURE, f"{name}.failed") for name in ("batch", "response", "fine_tuning.job", "video", "agent.session")],
        ("ERROR", "resource_id"),
    ),
}
"""The level and the field of the line that a function logs for an event."""


def test_function_logs_event_without_payload(functions: dict[str, FunctionPool]) -> None:
    for (name, event_type), (level, field) in HANDLED.items():
        event = delivered(event_type, note=CANARY)
        [line] = handle(functions, name, event)

        expected = {"level": level, "event_type": event_type, "correlation_id": event["detail"]["id"]}
        assert line.items() >= (expected | {field: event["detail"]["data"]["id"]}).items(), name


CALLS: Final[dict[str, tuple[list[tuple[str, str]], str]]] = {
    "one callee": ([("From", CANARY), ("To", CANARY)], "accept"),
    "another case": ([("TO", CANARY)], "accept"),
    "two callees": ([("To", "sip:b@example.com"), ("to", "sip:c@example.com")], "reject"),
    "no callee": ([("From", CANARY)], "reject"),
    "no headers": ([], "reject"),
}


def test_only_call_with_one_callee_is_accepted(functions: dict[str, FunctionPool]) -> None:
    for case, (headers, answer) in CALLS.items():
        sip_headers = [{"name": name, "value": value} for name, value in headers]
        [line] = handle(functions, CALL, delivered("realtime.call.incoming", call_id="rtc_1", sip_headers=sip_headers))

        assert (line["answer"], line["call_id"]) == (answer, "rtc_1"), case


UNKNOWN: Final[list[tuple[str, dict[str, Any], dict[str, str | None]]]] = [
    (BATCH, changed("batch.paused", like="batch.completed"), {"event_type": "batch.paused", "drift": None}),
    (BATCH, changed("batch.completed", data={"name": CANARY}), {"drift": "data.id: missing"}),
    (BATCH, changed("batch.completed", created_at="today"), {"drift": "created_at: int_type"}),
    (FAILURE, changed("image.failed", like="video.failed", data={"id": "img_1"}), {"resource_id": "img_1"}),
    (FAILURE, changed("response.failed", created_at="today", data={"id": "resp_1"}), {"resource_id": "resp_1"}),
    (FAILURE, changed("response.failed", data={"id": 1}), {"resource_id": None, "drift": "data.id: string_type"}),
    (FAILURE, changed("response.failed", data=CANARY), {"resource_id": None, "drift": "data: model_type"}),
]


def test_family_logs_unknown_events(functions: dict[str, FunctionPool]) -> None:
    for name, event, logged in UNKNOWN:
        [line] = handle(functions, name, event)

        assert line["level"] == "ERROR"
        assert {field: line.get(field) for field in logged} == logged, event["detail-type"]


def test_changed_event_raises_and_leaves_no_record(functions: dict[str, FunctionPool]) -> None:
    call = {"call_id": 7, "sip_headers": [{"name": "To", "value": CANARY}]}
    for name, event, drift in (
        (COMPLETED, changed("response.completed", data={"name": CANARY}), "data.id: missing"),
        (CALL, changed("realtime.call.incoming", data=call), "data.call_id: string_type"),
        (COMPLETED, changed("response.failed"), "does not handle response.failed"),
    ):
        for _ in range(2):  # a record would let the second one succeed
            with pytest.raises(FunctionFailed, match=f"^UnexpectedEvent: .*{drift}") as failure:
                functions[name].invoke(event)
            assert CANARY not in f"{failure.value}{failure.value.details}{failure.value.log}"
