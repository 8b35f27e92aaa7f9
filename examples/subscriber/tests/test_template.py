"""The subscriber's template: which function gets which event, and for how long it is retried.

tests/unit/examples/test_templates.py checks what all examples have in common.
"""

import json
from typing import Any, Final

import pytest
from moto.events.models import EventPattern

from examples.tests.support.templates import SUBSCRIBER
from openai_webhooks import CATALOG
from tests.support.templates import Stack

STACK: Final = SUBSCRIBER.defaults
SOURCE: Final = STACK.parameters["EventSource"]["Default"]

COMPLETED: Final = "OnResponseCompletedFunction"
BATCH: Final = "OnBatchFunction"
FAILURE: Final = "OnFailureFunction"
CALL: Final = "OnCallFunction"

ROUTES: Final[dict[str, set[str]]] = {
    "batch.completed": {BATCH},
    "batch.failed": {BATCH, FAILURE},
    "batch.paused": {BATCH},
    "image.failed": {FAILURE},
    "realtime.call.incoming": {CALL},
    "response.completed": {COMPLETED},
    "response.failed": {FAILURE},
    "response.incomplete": set(),
    # Close to a pattern, but not matched by it.
    "batch": set(),
    "mini_batch.completed": set(),
    "Batch.completed": set(),
    "failed": set(),
    "response.failed_over": set(),
    "response.completed.twice": set(),
    "old.response.completed": set(),
    "realtime.call.incoming.sip": set(),
}
"""The functions that an event type reaches. Not all of these types exist."""

DAY: Final = 86_400
RETRIES: Final = {
    # function: ((retries, seconds) of its rule, the same of Lambda)
    COMPLETED: ((185, DAY), (2, DAY // 4)),
    BATCH: ((185, DAY), (2, DAY // 4)),
    FAILURE: ((185, DAY), (2, DAY // 4)),
    CALL: ((185, 60), (0, 60)),
}
LAMBDA_RETRY_DELAY: Final = 60
"""Seconds before Lambda's first retry: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html"""


@pytest.mark.parametrize(("event_type", "functions"), list(ROUTES.items()), ids=ROUTES)
def test_event_type_reaches_its_functions(event_type: str, functions: set[str]) -> None:
    assert reached(STACK, source=SOURCE, event_type=event_type) == functions


@pytest.mark.parametrize("event_type", CATALOG)
def test_known_type_reaches_function_of_family(event_type: str) -> None:
    expected = {
        COMPLETED: event_type == "response.completed",
        BATCH: event_type.startswith("batch."),
        FAILURE: event_type.endswith(".failed"),
        CALL: event_type == "realtime.call.incoming",
    }

    reaches = reached(STACK, source=SOURCE, event_type=event_type)
    assert reaches == {function for function, is_expected in expected.items() if is_expected}


@pytest.mark.parametrize("source", ["", "openai", "openai.com.example", "api.openai.com", "OpenAI.com", "aws.events"])
def test_other_source_reaches_nothing(source: str) -> None:
    assert not any(reached(STACK, source=source, event_type=event_type) for event_type in ROUTES)


def test_rules_match_source_parameter() -> None:
    stack = SUBSCRIBER.at(EventSource="mine")

    assert reached(stack, source="mine", event_type="batch.failed") == {BATCH, FAILURE}
    assert reached(stack, source=SOURCE, event_type="batch.failed") == set()


@pytest.mark.parametrize("function", RETRIES)
def test_rule_invokes_only_its_function(function: str) -> None:
    rule = STACK.properties(f"{function}Rule")
    [target] = rule["Targets"]
    permissions = [
        permission["SourceArn"]
        for permission in STACK.of("Lambda::Permission").values()
        if permission["FunctionName"] == {"Ref": function}
    ]

    assert rule["EventBusName"] == {"Fn::ImportValue": {"Fn::Sub": "${ReceiverStack}-EventBusName"}}
    assert target["Arn"] == arn(function)
    assert permissions == [arn(f"{function}Rule")]


@pytest.mark.parametrize("function", RETRIES)
def test_event_is_retried_while_useful(function: str) -> None:
    [target] = STACK.properties(f"{function}Rule")["Targets"]
    config = STACK.properties(f"{function}EventInvokeConfig")

    assert (limits(target["RetryPolicy"]), limits(config)) == RETRIES[function]
    assert (config["FunctionName"], config["Qualifier"]) == ({"Ref": function}, "$LATEST")


@pytest.mark.parametrize("function", RETRIES)
def test_claim_expires_before_retry(function: str) -> None:
    # After a time-out, the claim lasts until the end of the function's time-out.
    assert STACK.properties(function)["Timeout"] < LAMBDA_RETRY_DELAY


def test_every_function_is_in_tables() -> None:
    assert STACK.of("Lambda::Function").keys() == RETRIES.keys()
    assert STACK.of("Events::Rule").keys() == {f"{function}Rule" for function in RETRIES}


def reached(stack: Stack, *, source: str, event_type: str) -> set[str]:
    """Return the functions that the rules pass an event to."""
    event: Any = {"source": source, "detail-type": event_type, "detail": {"type": event_type}}
    return {
        target["Arn"]["Fn::GetAtt"][0]
        for rule in stack.of("Events::Rule").values()
        if EventPattern.load(json.dumps(stack.value(rule["EventPattern"]))).matches_event(event)
        for target in rule["Targets"]
    }


def limits(policy: dict[str, Any]) -> tuple[int, int]:
    return policy["MaximumRetryAttempts"], policy["MaximumEventAgeInSeconds"]


def arn(name: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, "Arn"]}
