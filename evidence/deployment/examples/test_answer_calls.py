"""The deployed function that answers calls: a signed delivery in, a request to OpenAI out, and how fast that is.

To see the times:

    pytest --no-cov --log-cli-level=INFO tests/e2e/examples/test_answer_calls.py
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any, Final

import pytest
from werkzeug import Response

from cli.tests.support.signed_delivery import Delivery, new_delivery
from evidence.deployment.examples.conftest import SECRET
from evidence.deployment.ministack import Deployed
from openai_webhooks_cli import samples
from openai_webhooks_cli.local.openai_stand_in import OpenAIStandIn, OpenAIRequest
from tests.support.background import wait_until

NUMBER: Final = "+14155550100"
STRANGER: Final = "+14155550199"
INSTRUCTIONS: Final = "You are a florist. Say hello, and take an order."
PUBLISHED: Final = (200, {"outcome": "published"})
FUNCTION: Final = "AnswerCallFunction"

logger = logging.getLogger(__name__)


@pytest.fixture(scope="module")
def stack(deploy_example: Callable[..., Deployed]) -> Deployed:
    # SAM CLI splits a value at spaces, unless it has quotes of its own.
    return deploy_example("answer-calls", AllowedCallers=f"{NUMBER},+12025550123", Instructions=f'"{INSTRUCTIONS}"')


@pytest.fixture(autouse=True)
def usual_answers(openai: OpenAIStandIn) -> Iterator[None]:
    usual = openai.on_request
    yield
    openai.on_request = usual


def incoming_call(openai: OpenAIStandIn, caller: str = NUMBER) -> dict[str, Any]:
    """Let a call ring. Return OpenAI's event."""
    event = samples.sample("realtime.call.incoming", created_at=int(time.time()), event_id=samples.new_id("evt_"))
    headers = [{"name": "From", "value": f'"Alice" <sip:{caller}@sip.example.com>;tag=a6c85cf'}]
    event["data"] |= {"call_id": samples.new_id("rtc_"), "sip_headers": headers}
    openai.calls[event["data"]["call_id"]] = "ringing"
    return event


def delivery_of(event: dict[str, Any]) -> Delivery:
    return new_delivery(event["type"], secret=SECRET, body=samples.encode(event))


def requests(openai: OpenAIStandIn, event: dict[str, Any]) -> list[OpenAIRequest]:
    return [request for request in openai.requests if request.id == event["data"]["call_id"]]


def answer(openai: OpenAIStandIn, receiver: Deployed, event: dict[str, Any]) -> tuple[OpenAIRequest, float]:
    """Deliver a call, and wait for the answer. Return the answer, and the seconds from the delivery to it."""
    delivery = delivery_of(event)
    delivered_at = time.time()
    assert delivery.post(receiver.url) == PUBLISHED
    [request] = wait_until(lambda: requests(openai, event), "an answer to the call", pause=0.005)
    return request, request.time - delivered_at


CALLERS: Final = {
    "allowed": (
        NUMBER,
        "calls.accept",
        {"type": "realtime", "model": "gpt-realtime", "instructions": INSTRUCTIONS},
    ),
    "not allowed": (STRANGER, "calls.reject", {"status_code": 603}),
}


@pytest.mark.parametrize(("caller", "action", "body"), CALLERS.values(), ids=CALLERS)
def test_call_is_answered(
    stack: Deployed, receiver: Deployed, openai: OpenAIStandIn, caller: str, action: str, body: Any
) -> None:
    event = incoming_call(openai, caller)

    request, _ = answer(openai, receiver, event)

    assert (request.action, request.body) == (action, body)
    [line] = wait_until(lambda: lines(stack, event), "a line about the call")
    assert line["message"] == "Call answered"
    assert not [line for line in stack.log("FunctionsLog") if "415555" in line or "Alice" in line]


def test_copies_are_answered_once(stack: Deployed, receiver: Deployed, openai: OpenAIStandIn) -> None:
    event, last, before = incoming_call(openai), incoming_call(openai), invocations(stack)

    # Each delivery has a webhook-id of its own, so the receiver publishes all of them.
    assert [delivery_of(event).post(receiver.url) for _ in range(3)] == [PUBLISHED] * 3
    answer(openai, receiver, last)

    wait_until(lambda: invocations(stack) >= before + 4, "an invocation for each copy")
    assert len(requests(openai, event)) == 1


def test_unanswered_call_reaches_dead_letters(stack: Deployed, receiver: Deployed, openai: OpenAIStandIn) -> None:
    openai.on_request = lambda _: Response(status=500)
    event = incoming_call(openai)
    sqs, queue = stack.aws.client("sqs"), stack.id_of("AnswerCallDeadLetters")

    assert delivery_of(event).post(receiver.url) == PUBLISHED

    [message] = wait_until(lambda: sqs.receive_message(QueueUrl=queue).get("Messages"), "a dead letter")
    assert json.loads(message["Body"])["requestPayload"]["detail"] == event
    assert len(requests(openai, event)) == 2  # the SDK's two attempts, in one invocation


def test_call_is_answered_within_a_second(stack: Deployed, receiver: Deployed, openai: OpenAIStandIn) -> None:
    cold, running = [], []
    for _ in range(3):
        receiver.start_new_instances("ReceiverFunction")
        start_new_instances(stack)
        cold.append(timed(stack, receiver, openai, cold_start=True))
    for _ in range(3):
        # The usual case: calls are rare, and the schedule has started the function.
        receiver.start_new_instances("ReceiverFunction")
        start_new_instances(stack)
        invoke_by_schedule(stack)
        running.append(timed(stack, receiver, openai, cold_start=False))
    warm = [answer(openai, receiver, incoming_call(openai))[1] for _ in range(20)]

    for name, seconds in {"both start": cold, "the receiver starts": running, "both run": warm}.items():
        logger.info("From delivery to answer, %s: %s", name, milliseconds(*seconds))
        logger.info("Median, %s: %s", name, milliseconds(median(seconds)))
    assert median(running) < 1
    assert median(warm) < 1


def timed(stack: Deployed, receiver: Deployed, openai: OpenAIStandIn, *, cold_start: bool) -> float:
    """Return the seconds from a delivery to the answer of a function that starts for it, or runs already."""
    event = incoming_call(openai)
    _, seconds = answer(openai, receiver, event)
    [line] = wait_until(lambda: lines(stack, event), "a line about the call")
    assert line["cold_start"] is cold_start
    return seconds


def invoke_by_schedule(stack: Deployed) -> None:
    """Invoke the function as the rule does every 5 minutes."""
    event = {"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}}
    answered = stack.aws.client("lambda").invoke(FunctionName=stack.id_of(FUNCTION), Payload=json.dumps(event))
    assert "FunctionError" not in answered


def start_new_instances(stack: Deployed) -> None:
    """Update the function's configuration, so that the next event gets a new instance."""
    lambda_, name = stack.aws.client("lambda"), stack.id_of(FUNCTION)
    # ministack keeps the instances if only a description changes.
    timeout = lambda_.get_function_configuration(FunctionName=name)["Timeout"]
    lambda_.update_function_configuration(FunctionName=name, Timeout=timeout)


def lines(stack: Deployed, event: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the function logged about a call."""
    return [line for line in stack.json_log("FunctionsLog") if line.get("call_id") == event["data"]["call_id"]]


def invocations(stack: Deployed) -> int:
    """Return how often the function has ended."""
    return sum(line.startswith("END ") for line in stack.log("FunctionsLog"))


def milliseconds(*seconds: float) -> str:
    return ", ".join(f"{1_000 * value:.0f} ms" for value in seconds)
