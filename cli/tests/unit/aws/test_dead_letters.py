"""What is read from messages of EventBridge, of Lambda and of others."""

import json
from typing import Any, Final

import pytest

from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.dead_letters import DeadLetterQueue, read_dead_letter
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


def message(body: Any, **attributes: str) -> dict[str, Any]:
    """Return a message as SQS does."""
    return {
        "MessageId": "1",
        "Body": body if isinstance(body, str) else json.dumps(body),
        "Attributes": {"SentTimestamp": "1795000000250"},
        "MessageAttributes": {name: {"StringValue": value, "DataType": "String"} for name, value in attributes.items()},
    }


def record(function: str, payload: Any = EVENT, **fields: Any) -> dict[str, Any]:
    """Return what Lambda sends to a destination for failures."""
    return {
        "version": "1.0",
        "requestContext": {"functionArn": function, "condition": "RetriesExhausted"},
        "requestPayload": payload,
        "responsePayload": {"errorType": "KeyError", "errorMessage": "'output_file_id'"},
    } | fields


def test_letter_of_eventbridge_names_rule_and_error() -> None:
    attributes = {"RULE_ARN": RULE, "ERROR_CODE": "NO_PERMISSIONS", "ERROR_MESSAGE": "not allowed"}

    letter = read_dead_letter(message(BODY, **attributes), QUEUE, [rule(target())])

    assert (letter.form, letter.origin, letter.rules) == ("eventbridge", "batches", ("batches",))
    assert letter.error == "NO_PERMISSIONS: not allowed"
    assert letter.targets == (target(),)
    assert letter.payload == BODY
    assert letter.event == EVENT
    assert letter.sent_at == 1_795_000_000.25


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

    letter = read_dead_letter(message(EVENT, **{"RULE_ARN": RULE, "ERROR_CODE": "X"} | attributes), QUEUE, [on_bus])

    assert letter.targets == targets


@pytest.mark.parametrize(
    ("failed", "targeted", "expected"),
    [
        pytest.param(f"{FUNCTION}:$LATEST", [FUNCTION], [FUNCTION], id="function"),
        pytest.param(f"{FUNCTION}:live", [f"{FUNCTION}:live", FUNCTION], [f"{FUNCTION}:live"], id="alias"),
        pytest.param(f"{FUNCTION}:7", [f"{FUNCTION}:live"], [f"{FUNCTION}:live"], id="version of the only alias"),
        pytest.param(f"{FUNCTION}:7", [f"{FUNCTION}:live", FUNCTION], [], id="version of one of two targets"),
        pytest.param(f"{FUNCTION}-admin", [FUNCTION], [], id="function without a rule on the bus"),
        pytest.param("", [FUNCTION], [], id="no function"),
    ],
)
def test_record_of_lambda_goes_to_target_of_rule(failed: str, targeted: list[str], expected: list[str]) -> None:
    rules = [rule(target(arn), name=f"rule-{number}") for number, arn in enumerate(targeted)]

    letter = read_dead_letter(message(record(failed)), QUEUE, rules)

    assert letter.form == "lambda record"
    assert [found.arn for found in letter.targets] == expected


def test_record_of_lambda_names_function_and_error() -> None:
    letter = read_dead_letter(message(record(f"{FUNCTION}:$LATEST")), QUEUE, [rule(target())])

    assert letter.origin == "on-batch:$LATEST"
    assert letter.rules == ("batches",)
    assert letter.error == "RetriesExhausted: KeyError: 'output_file_id'"
    assert letter.event == EVENT


@pytest.mark.parametrize("response", [None, "text", [], {}], ids=str)
def test_record_without_error_of_function_has_condition(response: Any) -> None:
    letter = read_dead_letter(message(record(FUNCTION, responsePayload=response)), QUEUE, [rule(target())])

    assert letter.error == "RetriesExhausted"


@pytest.mark.parametrize("payload", [EVENT, {"name": "Zoë ☃ 😀"}, ["transformed"], "text", None, 12345678901234567890])
def test_record_keeps_payload(payload: Any) -> None:
    letter = read_dead_letter(message(record(FUNCTION, payload)), QUEUE, [rule(target())])

    assert json.loads(letter.payload) == payload
    assert letter.event == (EVENT if payload is EVENT else {})
    assert letter.fields["event"] == payload


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

    letter = read_dead_letter(message(BODY, **attributes), QUEUE._replace(functions=functions), rules)

    assert (letter.form, letter.error, letter.payload) == ("lambda event", "200: KeyError", BODY)
    assert letter.targets == targets


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("hello", id="text"),
        pytest.param("[]", id="list"),
        pytest.param("null", id="null"),
        pytest.param("{}", id="empty object"),
        pytest.param(BODY, id="event without attributes"),
        pytest.param("[" * 100_000, id="deep nesting"),
        pytest.param("9" * 5000, id="long number"),
        pytest.param(json.dumps({**EVENT, "source": "\ud800"}), id="lone surrogate"),
        pytest.param(json.dumps(record(FUNCTION, "\ud800")), id="lone surrogate in a record"),
        pytest.param(json.dumps({"requestPayload": EVENT}), id="record without a function"),
        pytest.param(json.dumps(record(FUNCTION, requestContext={"functionArn": 1})), id="record with a number"),
    ],
)
def test_other_message_is_unknown(body: str) -> None:
    letter = read_dead_letter(message(body), QUEUE, [rule(target())])

    assert (letter.form, letter.payload, letter.targets, letter.event) == ("unknown", "", (), {})
    assert letter.fields["body"] == body
    assert letter.title


def test_title_has_no_control_characters() -> None:
    letter = read_dead_letter(message({**EVENT, "detail-type": "\x1b[31m\u202e"}, RULE_ARN=RULE), QUEUE, [])

    assert letter.event["detail-type"] == "\x1b[31m\u202e"
    assert not {"\x1b", "\u202e"} & set(letter.title)
