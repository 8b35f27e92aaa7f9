"""What is special in the template that answers calls. examples/tests/ checks what all examples have in common."""

import json
import re
from typing import Any, Final

import pytest

from examples.tests.support.example_functions import SECONDS_FOR_AWS
from examples.tests.support.templates import EXAMPLES, permissions, reached
from openai_webhooks import CATALOG

STACK: Final = EXAMPLES["answer-calls"].defaults
NUMBER: Final = "+14155550100"
ALLOWED_CALLERS: Final = {
    **dict.fromkeys(["", "*", NUMBER, "+12", "+123456789012345"], True),
    **dict.fromkeys(["+1234567890123456", "14155550100", "+1-415-555-0100", "+1 415 555 0100", "+04155550100"], False),
    **dict.fromkeys(["+1*", "**", "alice", f"{NUMBER}\n"], False),
}
"""Items of the parameter, and whether CloudFormation accepts them. It matches the whole item, as Java's `matches`."""


def test_parameter_accepts_only_e164_numbers_and_star() -> None:
    pattern = STACK.parameters["AllowedCallers"]["AllowedPattern"]

    assert {item: bool(re.fullmatch(pattern, item)) for item in ALLOWED_CALLERS} == ALLOWED_CALLERS


def test_nobody_is_allowed_by_default() -> None:
    assert variables()["ALLOWED_CALLERS"] == ""


def test_environment_fits_in_4_kb() -> None:
    callers = ",".join(f"+1415555{number:04}" for number in range(100))
    instructions = "x" * int(STACK.parameters["Instructions"]["MaxLength"])

    # Lambda's limit: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
    assert len(json.dumps(variables(AllowedCallers=callers, Instructions=instructions))) < 4_096


def test_only_incoming_calls_reach_function() -> None:
    assert [event_type for event_type in CATALOG if reached(STACK, event_type)] == ["realtime.call.incoming"]


def test_function_has_least_privilege() -> None:
    table = dict.fromkeys(["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"], "HandledEventsTable")
    allowed = permissions(STACK, "AnswerCallFunction")

    assert allowed.pop("secretsmanager:GetSecretValue")
    assert allowed == {action: {"Fn::GetAtt": [resource, "Arn"]} for action, resource in table.items()}


def test_function_outlasts_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name, value in variables().items():
        monkeypatch.setenv(name, str(value))
    from answer_call import CALLS  # noqa: PLC0415  # the module reads the environment

    openai: Any = CALLS._client.timeout  # seconds
    aws = 3 * SECONDS_FOR_AWS  # the API key, the claim, the result
    assert openai >= 2
    assert STACK.properties("AnswerCallFunction")["Timeout"] > 2 * openai + aws


def test_schedule_keeps_instance_running_and_key_cached() -> None:
    rule = STACK.properties("AnswerCallFunctionKeepRunning")
    [target] = rule["Targets"]
    [minutes] = re.findall(r"^rate\((\d+) minutes\)$", rule["ScheduleExpression"])

    # The API key stays in the cache for 5 minutes. Lambda keeps an instance for longer than that.
    assert int(minutes) < 5
    assert rule.get("State", "ENABLED") == "ENABLED"
    assert target["Arn"] == {"Fn::GetAtt": ["AnswerCallFunction", "Arn"]}
    assert "Input" not in target  # the function recognizes the schedule by the event's source


def variables(**parameters: str) -> dict[str, Any]:
    stack = EXAMPLES["answer-calls"].at(**parameters)
    declared: dict[str, Any] = stack.value(stack.properties("AnswerCallFunction")["Environment"]["Variables"])
    return declared
