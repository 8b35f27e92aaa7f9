"""The subscriber's functions over DynamoDB: what each function does with its events, and that it does so once."""

import logging
import time
from typing import Any, Final, NamedTuple

import pytest
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyPersistenceLayerError,
)

from examples.tests.support.subscriber_functions import Starter, Table
from examples.tests.support.templates import SUBSCRIBER

COMPLETED: Final = "OnResponseCompletedFunction"
BATCH: Final = "OnBatchFunction"
FAILURE: Final = "OnFailureFunction"
CALL: Final = "OnCallFunction"

CANARY: Final = "sip:canary@example.com"

OPENAI_RETRIES: Final = 72 * 3600
"""Seconds: https://platform.openai.com/docs/guides/webhooks"""


def delivered(event_type: str, *, event_id: str = "evt_1", **changed: object) -> dict[str, Any]:
    """Return an event as EventBridge passes it. `changed` replaces OpenAI's fields, or removes those that are None."""
    detail = {
        "id": event_id,
        "object": "event",
        "created_at": 1750861210,
        "type": event_type,
        "data": {"id": "res_1"},
    } | changed
    return {
        "version": "0",
        "id": f"eventbridge-{event_id}",
        "detail-type": event_type,
        "source": "openai.com",
        "account": "123456789012",
        "time": "2025-06-25T14:20:10Z",
        "region": "us-east-1",
        "resources": [],
        "detail": {name: value for name, value in detail.items() if value is not None},
    }


def call(*headers: tuple[str, str], **changed: object) -> dict[str, Any]:
    sip_headers = [{"name": name, "value": value} for name, value in headers]
    return delivered("realtime.call.incoming", data={"call_id": "rtc_1", "sip_headers": sip_headers} | changed)


class Handled(NamedTuple):
    """An event that a function handles, and the fields that it logs."""

    function: str
    event: dict[str, Any]
    logged: dict[str, str]

    @property
    def name(self) -> str:
        return f"{self.function}: {self.event['detail-type']}"


HANDLED: Final = [
    Handled(COMPLETED, delivered("response.completed"), {"level": "INFO", "response_id": "res_1"}),
    Handled(BATCH, delivered("batch.completed"), {"level": "INFO", "batch_id": "res_1"}),
    Handled(BATCH, delivered("batch.expired"), {"level": "INFO", "batch_id": "res_1"}),
    Handled(BATCH, delivered("batch.cancelled"), {"level": "INFO", "batch_id": "res_1"}),
    Handled(BATCH, delivered("batch.failed"), {"level": "WARNING", "batch_id": "res_1"}),
    Handled(FAILURE, delivered("batch.failed"), {"level": "ERROR", "resource_id": "res_1"}),
    Handled(FAILURE, delivered("response.failed"), {"level": "ERROR", "resource_id": "res_1"}),
    Handled(FAILURE, delivered("fine_tuning.job.failed"), {"level": "ERROR", "resource_id": "res_1"}),
    Handled(FAILURE, delivered("eval.run.failed"), {"level": "ERROR", "resource_id": "res_1"}),
    Handled(FAILURE, delivered("video.failed"), {"level": "ERROR", "resource_id": "res_1"}),
    Handled(FAILURE, delivered("agent.environment.failed"), {"level": "ERROR", "resource_id": "res_1"}),
    Handled(
        FAILURE,
        delivered("agent.session.failed", data={"id": "res_1", "environment_type": "hosted"}),
        {"level": "ERROR", "resource_id": "res_1"},
    ),
    Handled(CALL, call(("To", CANARY)), {"level": "INFO", "call_id": "rtc_1"}),
]
ONE_OF_EACH: Final = list({case.function: case for case in HANDLED}.values())


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in HANDLED])
def test_function_logs_event(start: Starter, case: Handled) -> None:
    [line] = start(case.function)(case.event)

    assert (line["event_type"], line["correlation_id"]) == (case.event["detail-type"], "evt_1")
    assert line.items() >= case.logged.items()


@pytest.mark.parametrize(
    ("headers", "answer"),
    [
        pytest.param([("From", "sip:a@example.com"), ("To", "sip:b@example.com")], "accept", id="one callee"),
        pytest.param([("TO", "sip:b@example.com")], "accept", id="another case"),
        pytest.param([("To", "sip:b@example.com"), ("to", "sip:c@example.com")], "reject", id="two callees"),
        pytest.param([("From", "sip:a@example.com")], "reject", id="no callee"),
        pytest.param([], "reject", id="no headers"),
    ],
)
def test_only_call_with_one_callee_is_accepted(start: Starter, headers: list[tuple[str, str]], answer: str) -> None:
    [line] = start(CALL)(call(*headers))

    assert line["answer"] == answer


@pytest.mark.parametrize("case", [pytest.param(case, id=case.function) for case in ONE_OF_EACH])
def test_copy_is_not_handled_again(start: Starter, case: Handled) -> None:
    function = start(case.function)
    function(case.event)

    # EventBridge gives OpenAI's retry a new id, and another instance may get it.
    assert function(case.event) == []
    assert start(case.function)(case.event | {"id": "eventbridge-2", "time": "2025-06-25T14:25:10Z"}) == []


def test_second_event_of_resource_is_handled(start: Starter) -> None:
    function = start(COMPLETED)

    assert function(delivered("response.completed", event_id="evt_1"))
    assert function(delivered("response.completed", event_id="evt_2"))


def test_two_functions_handle_same_event(start: Starter, table: Table) -> None:
    event = delivered("batch.failed")

    assert start(BATCH)(event)
    assert start(FAILURE)(event)
    assert len(table.records()) == 2


def test_concurrent_copy_fails_and_is_not_handled_later(start: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    function = start(COMPLETED)
    event = delivered("response.completed")
    parse_as = function.module.parse_as

    def parse_during_copy(*arguments: Any) -> Any:
        with pytest.raises(IdempotencyAlreadyInProgressError):
            function(event)
        return parse_as(*arguments)

    monkeypatch.setattr(function.module, "parse_as", parse_during_copy)

    assert function(event)
    assert function(event) == []


class Killed(BaseException):
    """The end of an instance. `except Exception` does not catch it."""


@pytest.mark.parametrize("end", [pytest.param(ValueError, id="raised"), pytest.param(Killed, id="killed")])
def test_failed_attempt_is_repeated(start: Starter, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]) -> None:
    function = start(COMPLETED)
    event = delivered("response.completed")

    def fail(*_: object) -> None:
        raise end

    with monkeypatch.context() as patched:
        patched.setattr(function.module, "parse_as", fail)
        # Before the retry, the invocation has timed out, so its claim has expired.
        with pytest.raises(end):
            function(event, remaining=-1)

    assert function(event)


def test_record_outlives_all_retries(start: Starter, table: Table) -> None:
    [target] = SUBSCRIBER.defaults.properties(f"{COMPLETED}Rule")["Targets"]
    start(COMPLETED)(delivered("response.completed"))

    [record] = table.records()
    remembered = int(record["expiration"]) - time.time()
    assert remembered > OPENAI_RETRIES + target["RetryPolicy"]["MaximumEventAgeInSeconds"] - 60


def test_unreachable_table_stops_handling(start: Starter, table: Table) -> None:
    table.delete()

    with pytest.raises(IdempotencyPersistenceLayerError):
        start(COMPLETED)(delivered("response.completed"))


@pytest.mark.parametrize(
    ("function", "event", "logged"),
    [
        pytest.param(
            BATCH,
            delivered("batch.paused"),
            {"level": "ERROR", "event_type": "batch.paused", "drift": None},
            id="batch: unknown type",
        ),
        pytest.param(
            BATCH,
            delivered("batch.completed", data={"name": CANARY}),
            {"level": "ERROR", "event_type": "batch.completed", "drift": "data.id: missing"},
            id="batch: no resource id",
        ),
        pytest.param(
            BATCH,
            delivered("batch.completed", created_at="today"),
            {"level": "ERROR", "drift": "created_at: int_type"},
            id="batch: field of other type",
        ),
        pytest.param(
            FAILURE,
            delivered("image.failed", data={"id": "img_1"}),
            {"level": "ERROR", "event_type": "image.failed", "resource_id": "img_1"},
            id="failure: unknown type",
        ),
        pytest.param(
            FAILURE,
            delivered("response.failed", created_at="today"),
            {"level": "ERROR", "resource_id": "res_1"},
            id="failure: field of other type",
        ),
        pytest.param(
            FAILURE,
            delivered("response.failed", data={"id": 1}),
            {"resource_id": None, "drift": "data.id: string_type"},
            id="failure: id of other type",
        ),
        pytest.param(
            FAILURE,
            delivered("response.failed", data=CANARY),
            {"resource_id": None, "drift": "data: model_type"},
            id="failure: data is not an object",
        ),
    ],
)
def test_family_logs_unknown_events(
    start: Starter, function: str, event: dict[str, Any], logged: dict[str, str]
) -> None:
    instance = start(function)

    [line] = instance(event)
    assert {name: line.get(name) for name in logged} == logged
    assert CANARY not in "".join(instance.output)
    assert instance(event) == []


@pytest.mark.parametrize(
    ("function", "event", "drift"),
    [
        pytest.param(
            COMPLETED, delivered("response.completed", data={"name": CANARY}), "data.id: missing", id="response"
        ),
        pytest.param(CALL, call(("To", CANARY), call_id=7), "data.call_id: string_type", id="call"),
    ],
)
def test_changed_event_raises(start: Starter, table: Table, function: str, event: dict[str, Any], drift: str) -> None:
    instance = start(function)

    with pytest.raises(Exception, match=drift) as raised:
        instance(event)

    # No record blocks a redrive.
    assert table.records() == []
    assert CANARY not in str(raised.value) + "".join(instance.output)


@pytest.mark.parametrize("without", ["id", "created_at", "data", "object"])
def test_event_without_field_is_handled_once(start: Starter, without: str) -> None:
    function = start(FAILURE)
    removed: dict[str, Any] = {without: None}
    event = delivered("agent.session.failed", **removed)

    assert function(event)
    assert function(event) == []


@pytest.mark.parametrize("case", [pytest.param(case, id=case.function) for case in ONE_OF_EACH])
def test_payload_is_neither_logged_nor_stored(
    start: Starter, table: Table, caplog: pytest.LogCaptureFixture, case: Handled
) -> None:
    caplog.set_level(logging.DEBUG)
    event = case.event | {"detail": case.event["detail"] | {"note": CANARY}}

    function = start(case.function, LogLevel="DEBUG")
    assert function(event)

    assert CANARY not in "".join(function.output) + caplog.text + repr(table.records())
