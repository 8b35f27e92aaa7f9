"""The deployed function that answers calls: a signed delivery in, a request to OpenAI out, and how fast that is.

To see the times:

    make e2e-deployment ARGS="-k start_of_function --log-cli-level=INFO"
"""

import json
import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median
from typing import Any, Final

import pytest
from werkzeug import Response

from evidence.deployment.ministack import Deployed
from evidence.deployment.stacks import PUBLISHED, sign
from openai_webhooks_cli import samples
from openai_webhooks_cli.local.openai_stand_in import OpenAIRequest, OpenAIStandIn
from tests.support.background import wait_until

NUMBER: Final = "+14155550100"
STRANGER: Final = "+14155550199"
INSTRUCTIONS: Final = "You are a florist. Say hello, and take an order."
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


def requests(openai: OpenAIStandIn, event: dict[str, Any]) -> list[OpenAIRequest]:
    return [request for request in openai.requests if request.id == event["data"]["call_id"]]


def answer(openai: OpenAIStandIn, receiver: Deployed, event: dict[str, Any]) -> tuple[OpenAIRequest, float]:
    """Deliver a call, and wait for the answer. Return the answer, and the seconds from the delivery to it."""
    delivery = sign(event)
    delivered_at = time.time()
    assert delivery.post(receiver.url) == PUBLISHED
    [request] = wait_until(lambda: requests(openai, event), "an answer to the call", pause=0.005)
    return request, request.time - delivered_at


ACCEPTED: Final = {"type": "realtime", "model": "gpt-realtime-2", "instructions": INSTRUCTIONS}


@pytest.mark.parametrize(
    ("caller", "action", "body"),
    [
        pytest.param(NUMBER, "calls.accept", ACCEPTED, id="allowed"),
        pytest.param(STRANGER, "calls.reject", {"status_code": 603}, id="not allowed"),
    ],
)
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
    assert [sign(event).post(receiver.url) for _ in range(3)] == [PUBLISHED] * 3
    answer(openai, receiver, last)

    wait_until(lambda: invocations(stack) >= before + 4, "an invocation for each copy")
    assert len(requests(openai, event)) == 1


def test_unanswered_call_reaches_dead_letters(stack: Deployed, receiver: Deployed, openai: OpenAIStandIn) -> None:
    openai.on_request = lambda _: Response(status=500)
    event = incoming_call(openai)

    assert sign(event).post(receiver.url) == PUBLISHED

    [message] = wait_until(lambda: stack.aws.received(stack.id_of("AnswerCallDeadLetters")), "a dead letter")
    assert message["requestPayload"]["detail"] == event
    assert len(requests(openai, event)) == 2  # the SDK's two attempts, in one invocation


def test_call_does_not_wait_for_start_of_function(stack: Deployed, receiver: Deployed, openai: OpenAIStandIn) -> None:
    # Times are compared with others of this run, because other load on the machine slows all of them down.
    both_start: list[float] = []
    receiver_starts: list[float] = []
    for _ in range(3):
        for scheduled, seconds in ((False, both_start), (True, receiver_starts)):
            receiver.start_new_instances("ReceiverFunction")
            start_new_instances(stack)
            if scheduled:  # the usual case: calls are rare, and the schedule has started the function
                invoke_by_schedule(stack)
            event = incoming_call(openai)
            seconds.append(answer(openai, receiver, event)[1])
            [line] = wait_until(partial(lines, stack, event), "a line about the call")
            assert line["cold_start"] is not scheduled
    both_run = [answer(openai, receiver, incoming_call(openai))[1] for _ in range(10)]

    times = {"both functions start": both_start, "the receiver starts": receiver_starts, "both run": both_run}
    for name, seconds in times.items():
        logger.info("From delivery to answer, %s: %s", name, [f"{1_000 * value:.0f} ms" for value in seconds])
    start_of_receiver = median(receiver_starts) - median(both_run)
    start_of_function = median(both_start) - median(receiver_starts)
    assert 0 < start_of_receiver < start_of_function
    assert median(both_run) < start_of_receiver


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
