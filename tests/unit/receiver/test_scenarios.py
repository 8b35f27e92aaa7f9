"""Each way a delivery can go: the answer, the metrics, the log, the bus, the table, and that nothing leaks.

The log level is DEBUG, and every logger of the process is read.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support.canaries import error_text, leaks
from tests.support.in_memory_aws import InMemoryAws
from tests.support.log_capture import every_log, text
from tests.support.receiver_instance import Answer, ReceiverInstance, Start
from tests.support.scenarios import ANSWERS, SCENARIOS, Scenario


@pytest.mark.parametrize("scenario", [pytest.param(scenario, id=scenario.name) for scenario in SCENARIOS])
def test_delivery_goes_as_scenario_says(scenario: Scenario, start: Start, aws: InMemoryAws) -> None:
    with every_log() as logged:
        receiver = start(log_level="DEBUG", **scenario.settings)
        scenario.meets(receiver, aws)
        request = receiver.delivery(**scenario.delivery) if scenario.request is None else scenario.request
        with errors_of(receiver) as raised:
            answer = receiver(request)

    check_answer(answer, scenario)
    check_lines(answer, scenario)
    assert receiver.output[-1] == "", "stderr"
    # Promise 2: a 2xx means that the event is on the bus.
    assert len(aws.arrived()) == (answer.status == 200)
    # Promise 1: only verified events reach the table.
    operations = {call.operation for call in receiver.calls}
    if scenario.outcome == "Unverified":
        assert operations == set()
    elif scenario.outcome in {"SignatureMismatch", "NotConfigured"}:
        assert operations == {"GetSecretValue"}
    elif scenario.outcome in {"Published", "Duplicate", "PublishFailed"}:
        assert "PutEvents" in operations
    # Promise 6: no secret, signature or payload is logged, kept or raised.
    said = [*receiver.output, text(logged), str(answer.headers), str(answer.body), *map(error_text, raised)]
    assert leaks("\n".join(said), request) == []
    assert bool(raised) == (answer.status != 200)
    check_records(aws.records())


def check_answer(answer: Answer, scenario: Scenario) -> None:
    status, retry_after = ANSWERS[scenario.outcome]
    assert answer.status == status
    assert answer.body == ({"outcome": scenario.outcome.lower()} if status == 200 else {"error": scenario.outcome})
    assert answer.headers.pop("content-type") == "application/json"
    assert answer.headers == ({"retry-after": str(retry_after)} if retry_after else {})


def check_lines(answer: Answer, scenario: Scenario) -> None:
    counted = [scenario.outcome, *([scenario.also_counts] if scenario.also_counts else [])]
    assert answer.metrics == dict.fromkeys(counted, 1)
    assert answer.line["outcome"] == scenario.outcome
    assert answer.line["level"] == ("INFO" if answer.status == 200 else "WARNING")
    assert re.search(scenario.reason or "^$", answer.line.get("reason", ""))
    # All other lines are errors of AWS.
    assert bool(answer.errors) == bool(scenario.error)
    for error in answer.errors:
        assert error["level"] == "ERROR"
        assert re.search(scenario.error, error["message"])


def check_records(records: list[dict[str, Any]]) -> None:
    for record in records:
        assert re.fullmatch("delivery#[0-9a-f]{64}", record["id"])
        assert re.fullmatch('"[0-9a-f-]{36}"', record.get("data", f'"{"0" * 36}"'))
        assert record.keys() <= {"id", "data", "status", "expiration", "in_progress_expiration", "claimant"}


@contextmanager
def errors_of(receiver: ReceiverInstance) -> Iterator[list[Exception]]:
    """Note what `Receiver.receive` raises. The function turns it into a status."""
    raised: list[Exception] = []
    receive = receiver.receiver.receive

    def receive_and_note(*delivery: Any) -> Any:
        try:
            return receive(*delivery)
        except Exception as error:
            raised.append(error)
            raise

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(receiver.receiver, "receive", receive_and_note)
        yield raised
