"""What is read from messages of EventBridge, of Lambda and of others."""

import json
from collections.abc import Mapping
from typing import Any, Final

import pytest

from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.dead_letters import DeadLetter, DeadLetterQueue, read_dead_letter
from openai_webhooks_cli.aws.rules import Rule, Target

FUNCTION: Final = "arn:aws:lambda:eu-central-1:123456789012:function:on-batch"
OTHER: Final = "arn:aws:lambda:eu-central-1:123456789012:function:on-failure"
RULE: Final = "arn:aws:events:eu-central-1:123456789012:rule/bus/batches"
QUEUE: Final = DeadLetterQueue(
    "letters", "arn:aws:sqs:eu-central-1:123456789012:letters", "https://queue", ("batches",), (FUNCTION,), 1
)
EVENT: Final = {
    "detail-type": "batch.completed",
    "source": "openai.com",
    "detail": samples.sample("batch.completed", created_at=1_795_000_000),
}
BODY: Final = json.dumps(EVENT, indent=1)


def target(arn: str = FUNCTION, *, queue: str | None = QUEUE.arn) -> Target:
    return Target(arn, queue)


def rule(*targets: Target, name: str = "batches") -> Rule:
    return Rule(name, RULE.replace("batches", name), "{}", enabled=True, targets=targets)


def read(body: str, *rules: Rule, attributes: Mapping[str, str] = {}, queue: DeadLetterQueue = QUEUE) -> DeadLetter:
    """Read a message as SQS returns it."""
    values = {name: {"StringValue": value, "DataType": "String"} for name, value in attributes.items()}
    sent = {"SentTimestamp": "1795000000250"}
    message = {"MessageId": "1", "Body": body, "Attributes": sent, "MessageAttributes": values}
    return read_dead_letter(message, queue, rules)


def record(function: Any, payload: Any = EVENT, response: Any = None) -> str:
    """Return what Lambda sends to a destination for failures."""
    context = {"functionArn": function, "condition": "RetriesExhausted"}
    return json.dumps({"requestContext": context, "requestPayload": payload, "responsePayload": response})


# ---- From EventBridge ----


def test_letter_of_eventbridge_names_rule_and_error() -> None:
    attributes = {"RULE_ARN": RULE, "ERROR_CODE": "NO_PERMISSIONS", "ERROR_MESSAGE": "not allowed"}

    letter = read(BODY, rule(target()), attributes=attributes)

    assert (letter.form, letter.origin, letter.rules) == ("eventbridge", "batches", ("batches",))
    assert letter.error == "NO_PERMISSIONS: not allowed"
    assert (letter.payload, letter.event, letter.sent_at) == (BODY, EVENT, 1_795_000_000.25)


@pytest.mark.parametrize(
    ("attributes", "targets"),
    [
        pytest.param({"TARGET_ARN": OTHER}, (target(OTHER),), id="named target"),
        pytest.param({"TARGET_ARN": f"{OTHER}-old"}, (target(), target(OTHER)), id="target that was removed"),
        pytest.param({}, (target(), target(OTHER)), id="targets with this queue"),
        pytest.param({"RULE_ARN": f"{RULE}-old"}, (), id="rule that was removed"),
    ],
)
def test_letter_of_eventbridge_goes_to_targets_of_its_rule(
    attributes: dict[str, str], targets: tuple[Target, ...]
) -> None:
    on_bus = rule(target(), target(OTHER), target(f"{OTHER}-without", queue=None))

    letter = read(BODY, on_bus, attributes={"RULE_ARN": RULE, "ERROR_CODE": "X"} | attributes)

    assert letter.targets == targets


# ---- From Lambda ----


@pytest.mark.parametrize(
    ("response", "error"),
    [
        ({"errorType": "KeyError", "errorMessage": "'id'"}, "RetriesExhausted: KeyError: 'id'"),
        ({}, "RetriesExhausted"),
        ("text", "RetriesExhausted"),
    ],
    ids=["error", "empty response", "text"],
)
def test_record_of_lambda_names_function_and_error(response: Any, error: str) -> None:
    letter = read(record(f"{FUNCTION}:$LATEST", response=response), rule(target()))

    assert (letter.form, letter.origin, letter.rules) == ("lambda record", "on-batch:$LATEST", ("batches",))
    assert (letter.error, letter.event) == (error, EVENT)


@pytest.mark.parametrize("payload", [{"name": "Zoë ☃ 😀"}, ["transformed"], None, 12345678901234567890])
def test_record_of_lambda_keeps_payload_that_is_no_event(payload: Any) -> None:
    letter = read(record(FUNCTION, payload), rule(target()))

    assert json.loads(letter.payload) == letter.fields["event"] == payload
    assert letter.event == {}


@pytest.mark.parametrize(
    ("failed", "targeted", "expected"),
    [
        pytest.param(f"{FUNCTION}:$LATEST", [FUNCTION], [FUNCTION], id="function"),
        pytest.param(f"{FUNCTION}:$LATEST", [f"{FUNCTION}:live", FUNCTION], [FUNCTION], id="function with an alias"),
        pytest.param(f"{FUNCTION}:live", [f"{FUNCTION}:live", FUNCTION], [f"{FUNCTION}:live"], id="alias"),
        pytest.param(f"{FUNCTION}:7", [f"{FUNCTION}:live"], [f"{FUNCTION}:live"], id="version of the only alias"),
        pytest.param(f"{FUNCTION}:7", [f"{FUNCTION}:live", FUNCTION], [], id="version of one of two targets"),
        pytest.param(f"{FUNCTION}-admin", [FUNCTION], [], id="function without a rule on the bus"),
        pytest.param("", [FUNCTION], [], id="no function"),
    ],
)
def test_record_of_lambda_goes_to_target_of_rule(failed: str, targeted: list[str], expected: list[str]) -> None:
    rules = [rule(target(arn), name=f"rule-{number}") for number, arn in enumerate(targeted)]

    assert [found.arn for found in read(record(failed), *rules).targets] == expected


@pytest.mark.parametrize(
    ("functions", "targets"),
    [((FUNCTION,), (target(),)), ((FUNCTION, OTHER), ()), ((), ())],
    ids=["one", "two", "none"],
)
def test_event_of_lambda_goes_to_only_function_of_queue(
    functions: tuple[str, ...], targets: tuple[Target, ...]
) -> None:
    attributes = {"RequestID": "1", "ErrorCode": "200", "ErrorMessage": "KeyError"}
    rules = [rule(target(arn), name=arn.rpartition(":")[2]) for arn in (FUNCTION, OTHER)]

    letter = read(BODY, *rules, attributes=attributes, queue=QUEUE._replace(functions=functions))

    assert (letter.form, letter.error, letter.payload) == ("lambda event", "200: KeyError", BODY)
    assert letter.targets == targets


# ---- From others ----


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("hello", id="text"),
        pytest.param("null", id="null"),
        pytest.param("{}", id="empty object"),
        pytest.param(BODY, id="event without attributes"),
        pytest.param("[" * 100_000, id="deep nesting"),
        pytest.param("9" * 5000, id="long number"),
        pytest.param(json.dumps({**EVENT, "source": "\ud800"}), id="lone surrogate"),
        pytest.param(record(FUNCTION, "\ud800"), id="lone surrogate in a record"),
        pytest.param(json.dumps({"requestPayload": EVENT}), id="record without a function"),
        pytest.param(record(1), id="record with a number"),
    ],
)
def test_other_message_is_unknown(body: str) -> None:
    letter = read(body, rule(target()))

    assert (letter.form, letter.payload, letter.targets, letter.event) == ("unknown", "", (), {})
    assert letter.fields["body"] == body
    assert letter.title
