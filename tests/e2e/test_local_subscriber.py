"""The subscriber's functions in `sam local start-lambda`, with events as the bus delivers them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

if TYPE_CHECKING:
    from tests.e2e.conftest import Background, Bus, Delivery, Sam

SUBSCRIBER = Path(__file__).resolve().parents[2] / "examples/subscriber"
URL = "http://127.0.0.1:3001/2015-03-31/functions/{}/invocations"
DEV_URL = "http://127.0.0.1:8787/webhooks/openai"


@pytest.fixture(scope="module")
def functions(sam: "Sam", dev: "Background") -> "Iterator[Background]":
    sam.run("build", cwd=SUBSCRIBER)
    with sam.serve("start-lambda", cwd=SUBSCRIBER) as running:
        yield running


@pytest.mark.parametrize(
    ("function", "event_type", "message", "named"),
    [
        ("OnResponseCompletedFunction", "response.completed", "A response is ready", {"response_id": "id"}),
        ("OnBatchFunction", "batch.failed", "A batch was not run", {"batch_id": "id"}),
        ("OnFailureFunction", "fine_tuning.job.failed", "Failed", {"resource_id": "id"}),
        ("OnCallFunction", "realtime.call.incoming", "A call rings", {"call_id": "call_id"}),
    ],
)
def test_a_function_handles_what_the_bus_delivers_once(
    function: str,
    event_type: str,
    message: str,
    named: dict[str, str],
    functions: "Background",
    bus: "Bus",
    new_delivery: "Callable[..., Delivery]",
    wait_until: Callable[..., Any],
) -> None:
    handled_before = _handled(bus, function)
    delivery = new_delivery(event_type)
    assert delivery.post(DEV_URL) == (200, {"outcome": "published"})
    (event,) = bus.arrived(delivery.event["id"])
    # `make dev` has functions of its own, with the same table: what they have handled is unknown here.
    by_dev = wait_until(lambda: _handled(bus, function) - handled_before, f"the event at {function} of `make dev`")
    _forget(bus, by_dev)

    def lines() -> list[dict[str, Any]]:
        return [line for line in functions.lines() if line.get("correlation_id") == delivery.event["id"]]

    assert _invoke(function, event) is None
    (line,) = wait_until(lines, f"the log of {function}")
    assert (line["function_name"], line["message"], line["event_type"]) == (function, message, event_type)
    assert {field: line[field] for field in named} == {
        field: delivery.event["data"][source] for field, source in named.items()
    }

    ended = functions.text().count("END RequestId")
    assert _invoke(function, event) is None
    wait_until(lambda: functions.text().count("END RequestId") > ended, "the end of the second invocation")
    assert lines() == [line]


def _invoke(function: str, event: dict[str, Any]) -> Any:
    return requests.post(URL.format(function), json=event, timeout=60).json()


def _handled(bus: "Bus", function: str) -> set[str]:
    """The keys of what the function's records say is done."""
    items = bus.client("dynamodb").scan(TableName="HandledEventsTable")["Items"]
    return {
        item["id"]["S"] for item in items if item["id"]["S"].startswith(function) and item["status"]["S"] == "COMPLETED"
    }


def _forget(bus: "Bus", keys: set[str]) -> None:
    for key in keys:
        bus.client("dynamodb").delete_item(TableName="HandledEventsTable", Key={"id": {"S": key}})
