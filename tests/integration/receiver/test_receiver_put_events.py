"""What EventBridge can answer, and what becomes of the delivery then."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.receiver.conftest import Answer, Gateways, Receiver, Stack, Start

ADVICE = (
    "OpenAI redelivers the event; if this goes on, check that the bus exists and that the function may "
    "events:PutEvents on it"
)


def assert_failed(answer: "Answer", failure: str) -> None:
    assert (answer.status, answer.body) == (503, {"error": "PublishFailed"})
    assert answer.headers["retry-after"] == "5"
    assert answer.metrics == {"PublishFailed": 1}
    assert answer.log["reason"] == f"{failure} from PutEvents on bus openai: {ADVICE}"
    assert "eventbridge_id" not in answer.log


@pytest.mark.parametrize("code", ["InternalException", "MalformedDetail"])
def test_an_entry_can_be_refused_with_a_200(code: str, receiver: "Receiver", stack: "Stack") -> None:
    entry = {"ErrorCode": code, "ErrorMessage": "Detail canary-7d1f is refused"}
    receiver.answer("PutEvents", FailedEntryCount=1, Entries=[entry])
    assert_failed(receiver.deliver(), code)
    assert "canary-7d1f" not in "".join(receiver.output)
    receiver.recover()
    assert receiver.deliver().body == {"outcome": "published"}
    assert len(stack.arrived()) == 1


@pytest.mark.parametrize("code", ["ValidationException", "AccessDeniedException"])
def test_the_call_can_be_refused(code: str, receiver: "Receiver", stack: "Stack") -> None:
    receiver.refuse("PutEvents", code)
    assert_failed(receiver.deliver(), code)
    assert "canary-7d1f" not in "".join(receiver.output)
    receiver.recover()
    assert receiver.deliver().body == {"outcome": "published"}
    assert len(stack.arrived()) == 1


@pytest.mark.parametrize("entry", [{}, {"ErrorMessage": "canary-7d1f"}], ids=["empty", "without a code"])
def test_an_entry_without_an_id_is_not_on_the_bus(entry: dict[str, str], receiver: "Receiver") -> None:
    # Whatever the count says.
    receiver.answer("PutEvents", FailedEntryCount=0, Entries=[entry])
    assert_failed(receiver.deliver(), "no EventId")


def test_a_bus_that_does_not_exist_is_named(start: "Start") -> None:
    answer = start(EVENT_BUS_NAME="nowhere").deliver()
    assert (answer.status, answer.metrics) == (503, {"PublishFailed": 1})
    assert answer.log["reason"].startswith("ResourceNotFoundException from PutEvents on bus nowhere: ")


def test_one_entry_a_call(receiver: "Receiver") -> None:
    receiver.deliver(webhook_id="wh_1")
    receiver.deliver(webhook_id="wh_2")
    assert [len(parameters["Entries"]) for parameters in receiver.called("PutEvents")] == [1, 1]
    assert {parameters["Entries"][0]["EventBusName"] for parameters in receiver.called("PutEvents")} == {"openai"}


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("error 500", "InternalFailure"),
        ("bad gateway", "502"),
        ("refused", "EndpointConnectionError ({url}/)"),
        ("reset", "ConnectionClosedError ({url}/)"),
    ],
)
def test_the_log_says_what_is_wrong_with_the_service(
    fault: str, failure: str, receiver_behind_gateways: "Receiver", gateways: "Gateways"
) -> None:
    eventbridge = gateways["EVENTBRIDGE"]
    eventbridge.fail(fault)
    assert_failed(receiver_behind_gateways.deliver(), failure.format(url=eventbridge.url))
    # Each service is asked once more, and no oftener: there is no time for it.
    assert eventbridge.requests == (0 if fault == "refused" else 2)
