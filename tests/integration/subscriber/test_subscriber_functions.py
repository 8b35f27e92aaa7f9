"""The subscriber's functions over DynamoDB: what each does with its events, and that it does it once."""

import logging
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyPersistenceLayerError,
)

if TYPE_CHECKING:
    from tests.integration.subscriber.conftest import Start, Table

COMPLETED: Final = "OnResponseCompletedFunction"
BATCH: Final = "OnBatchFunction"
FAILURE: Final = "OnFailureFunction"
CALL: Final = "OnCallFunction"

CANARY: Final = "sip:canary@example.com"


def delivered(event_type: str, *, event_id: str = "evt_1", **changed: object) -> dict[str, Any]:
    """An event as EventBridge hands it over, some of OpenAI's fields changed or, by None, removed."""
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
    """An event that a function handles, and what its log says of it."""

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
def test_an_event_is_handled(start: "Start", case: Handled) -> None:
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
def test_a_call_is_answered(start: "Start", headers: list[tuple[str, str]], answer: str) -> None:
    [line] = start(CALL)(call(*headers))

    assert line["answer"] == answer


@pytest.mark.parametrize("case", [pytest.param(case, id=case.function) for case in ONE_OF_EACH])
def test_a_copy_is_not_handled_again(start: "Start", case: Handled) -> None:
    function = start(case.function)
    function(case.event)

    # OpenAI's redelivery is an event of its own to EventBridge, and may meet another instance.
    assert function(case.event) == []
    assert start(case.function)(case.event | {"id": "eventbridge-2", "time": "2025-06-25T14:25:10Z"}) == []


def test_another_event_of_the_same_resource_is_handled(start: "Start") -> None:
    function = start(COMPLETED)

    assert function(delivered("response.completed", event_id="evt_1"))
    assert function(delivered("response.completed", event_id="evt_2"))


def test_an_event_that_reaches_two_functions_is_handled_by_both(start: "Start", table: "Table") -> None:
    event = delivered("batch.failed")

    assert start(BATCH)(event)
    assert start(FAILURE)(event)
    assert len(table.records()) == 2


def test_a_copy_in_the_meantime_fails_and_then_finds_the_work_done(
    start: "Start", monkeypatch: pytest.MonkeyPatch
) -> None:
    function = start(COMPLETED)
    event = delivered("response.completed")
    parse = function.module.parse

    def copy_comes(detail: Any) -> Any:
        with pytest.raises(IdempotencyAlreadyInProgressError):
            function(event)
        return parse(detail)

    monkeypatch.setattr(function.module, "parse", copy_comes)

    assert function(event)
    assert function(event) == []


class Killed(BaseException):
    """The end of an instance: no `except Exception` sees it."""


@pytest.mark.parametrize(
    "end", [pytest.param(ValueError, id="it fails"), pytest.param(Killed, id="its instance is killed")]
)
def test_a_try_that_did_not_end_well_is_made_again(
    start: "Start", monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
) -> None:
    function = start(COMPLETED)
    event = delivered("response.completed")

    def fail(_: object) -> None:
        raise end

    with monkeypatch.context() as patched:
        patched.setattr(function.module, "parse", fail)
        # Its time is over by the time of the retry.
        with pytest.raises(end):
            function(event, remaining_ms=-1000)

    assert function(event)


def test_an_event_is_remembered_while_copies_can_come(start: "Start", table: "Table") -> None:
    start(COMPLETED)(delivered("response.completed"))

    [record] = table.records()
    assert int(record["expiration"]) - time.time() == pytest.approx(96 * 3600, abs=60)


def test_nothing_is_handled_that_can_not_be_remembered(start: "Start", table: "Table") -> None:
    table.delete()

    with pytest.raises(IdempotencyPersistenceLayerError):
        start(COMPLETED)(delivered("response.completed"))


@pytest.mark.parametrize(
    ("function", "event", "logged"),
    [
        pytest.param(
            BATCH,
            delivered("batch.paused"),
            {"message": "Not handled", "event_type": "batch.paused", "drift": None},
            id="batch: a type to come",
        ),
        pytest.param(
            BATCH,
            delivered("batch.completed", data={"name": CANARY}),
            {"message": "Not handled", "event_type": "batch.completed", "drift": "data.id: missing"},
            id="batch: no id of the resource",
        ),
        pytest.param(
            BATCH,
            delivered("batch.completed", created_at="today"),
            {"message": "Not handled", "drift": "created_at: int_type"},
            id="batch: another type of field",
        ),
        pytest.param(
            FAILURE,
            delivered("image.failed", data={"id": "img_1"}),
            {"message": "Failed", "event_type": "image.failed", "resource_id": "img_1"},
            id="failure: a type to come",
        ),
        pytest.param(
            FAILURE,
            delivered("response.failed", created_at="today"),
            {"message": "Failed", "resource_id": "res_1"},
            id="failure: another type of field",
        ),
        pytest.param(
            FAILURE,
            delivered("response.failed", data={"id": 1}),
            {"message": "Failed, without saying what", "drift": "data.id: string_type"},
            id="failure: another type of id",
        ),
        pytest.param(
            FAILURE,
            delivered("response.failed", data=CANARY),
            {"message": "Failed, without saying what", "drift": "data: model_type"},
            id="failure: data is not an object",
        ),
    ],
)
def test_a_family_takes_what_is_new(
    start: "Start", function: str, event: dict[str, Any], logged: dict[str, str]
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
def test_an_event_that_does_not_fit_its_one_class_is_left_to_the_dead_letter_queue(
    start: "Start", table: "Table", function: str, event: dict[str, Any], drift: str
) -> None:
    instance = start(function)

    with pytest.raises(TypeError, match=f"does not fit its class: {drift}$") as raised:
        instance(event)

    # A redrive finds the way free.
    assert table.records() == []
    assert CANARY not in str(raised.value) + "".join(instance.output)


@pytest.mark.parametrize("without", ["id", "created_at", "data", "object"])
def test_an_event_without_a_field_is_handled_once(start: "Start", without: str) -> None:
    function = start(FAILURE)
    removed: dict[str, Any] = {without: None}
    event = delivered("agent.session.failed", **removed)

    assert function(event)
    assert function(event) == []


@pytest.mark.parametrize("case", [pytest.param(case, id=case.function) for case in ONE_OF_EACH])
def test_nothing_of_the_payload_is_logged_or_kept(
    start: "Start", table: "Table", caplog: pytest.LogCaptureFixture, case: Handled
) -> None:
    caplog.set_level(logging.DEBUG)
    event = case.event | {"detail": case.event["detail"] | {"note": CANARY}}

    function = start(case.function, LogLevel="DEBUG")
    assert function(event)

    assert CANARY not in "".join(function.output) + caplog.text + repr(table.records())
