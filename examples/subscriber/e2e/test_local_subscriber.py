"""The subscriber's functions in `sam local start-lambda`, with events as the bus passes them."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
import requests

from cli.tests.support.local_bus import Bus
from cli.tests.support.sam_local import Dev, Sam, Served
from cli.tests.support.signed_delivery import new_delivery
from tests.support.background import wait_until
from tests.support.paths import ROOT

SUBSCRIBER: Final = ROOT / "examples/subscriber"


@pytest.fixture(scope="module")
def functions(sam: Sam) -> Iterator[Served]:
    sam.run("build", cwd=SUBSCRIBER)
    with sam.serve("start-lambda", cwd=SUBSCRIBER) as served:
        yield served


@pytest.mark.parametrize(
    ("function", "event_type", "logged"),
    [
        ("OnResponseCompletedFunction", "response.completed", {"response_id": "id"}),
        ("OnBatchFunction", "batch.failed", {"batch_id": "id"}),
        ("OnFailureFunction", "fine_tuning.job.failed", {"resource_id": "id"}),
        ("OnCallFunction", "realtime.call.incoming", {"call_id": "call_id"}),
    ],
)
def test_function_handles_event_once(
    function: str, event_type: str, logged: dict[str, str], functions: Served, dev: Dev, bus: Bus
) -> None:
    delivery = new_delivery(event_type)
    assert delivery.post(dev.url) == (200, {"outcome": "published"})
    (event,) = bus.received(delivery.event["id"])

    def lines() -> list[dict[str, Any]]:
        return [line for line in functions.running.lines() if line.get("correlation_id") == delivery.event["id"]]

    assert invoke(functions, function, event) is None
    (line,) = wait_until(lines, f"the log of {function}")
    assert (line["function_name"], line["event_type"]) == (function, event_type)
    assert {field: line[field] for field in logged} == {
        field: delivery.event["data"][source] for field, source in logged.items()
    }

    ended = functions.running.text().count("END RequestId")
    assert invoke(functions, function, event) is None
    wait_until(lambda: functions.running.text().count("END RequestId") > ended, "the end of the second invocation")
    assert lines() == [line]


def invoke(functions: Served, function: str, event: dict[str, Any]) -> Any:
    url = f"{functions.url}/2015-03-31/functions/{function}/invocations"
    return requests.post(url, json=event, timeout=60).json()
