"""The subscriber's template: who gets which event, and what becomes of an event that is not handled."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from moto.events.models import EventPattern

from openai_webhooks import CATALOGUE

if TYPE_CHECKING:
    from tests.unit.subscriber.conftest import Stack

COMPLETED: Final = "OnResponseCompletedFunction"
BATCH: Final = "OnBatchFunction"
FAILURE: Final = "OnFailureFunction"
CALL: Final = "OnCallFunction"

ROOT: Final = Path(__file__).parents[3]
README: Final = (ROOT / "examples/subscriber/README.md").read_text()
PATTERNS: Final[dict[str, str]] = dict(re.findall(r"^\| ([\w ]+) \| `(\{ source: .+ \})` \|$", README, re.MULTILINE))
"""Those of the README, by what it calls them."""

ROUTES: Final[dict[str, set[str]]] = {
    "agent.environment.expired": set(),
    "agent.environment.failed": {FAILURE},
    "agent.environment.ready": set(),
    "agent.environment.suspended": set(),
    "agent.session.action_required": set(),
    "agent.session.created": set(),
    "agent.session.failed": {FAILURE},
    "agent.session.idle": set(),
    "agent.session.in_progress": set(),
    "batch.cancelled": {BATCH},
    "batch.completed": {BATCH},
    "batch.expired": {BATCH},
    "batch.failed": {BATCH, FAILURE},
    "eval.run.canceled": set(),
    "eval.run.failed": {FAILURE},
    "eval.run.succeeded": set(),
    "fine_tuning.job.cancelled": set(),
    "fine_tuning.job.failed": {FAILURE},
    "fine_tuning.job.succeeded": set(),
    "live.call.incoming": set(),
    "live.transport.connected": set(),
    "live.transport.incoming": set(),
    "realtime.call.incoming": {CALL},
    "response.cancelled": set(),
    "response.completed": {COMPLETED},
    "response.failed": {FAILURE},
    "response.incomplete": set(),
    "safety.alert.created": set(),
    "safety.deactivation_issued": set(),
    "safety.org_alert.created": set(),
    "safety.warning_issued": set(),
    "safety_identifier.blocked": set(),
    "video.completed": set(),
    "video.failed": {FAILURE},
}
"""The functions that each type reaches."""

ROUTES_TO_COME: Final[dict[str, set[str]]] = {
    "batch.paused": {BATCH},
    "image.failed": {FAILURE},
    "batch": set(),
    "mini_batch.completed": set(),
    "Batch.completed": set(),
    "failed": set(),
    "response.failed_over": set(),
    "response.completed.twice": set(),
    "old.response.completed": set(),
    "realtime.call.incoming.sip": set(),
}
"""The same for types that OpenAI may yet add."""

FUNCTIONS: Final = {
    # function: (its dead letters, its rule's retry policy, retries and age of what Lambda has queued for it)
    COMPLETED: ("OnResponseCompletedDeadLetters", (185, 86_400), (2, 21_600)),
    BATCH: ("OnBatchDeadLetters", (185, 86_400), (2, 21_600)),
    FAILURE: ("OnFailureDeadLetters", (185, 86_400), (2, 21_600)),
    CALL: ("OnCallDeadLetters", (185, 60), (0, 60)),
}


@pytest.mark.parametrize(
    ("event_type", "functions"), [pytest.param(*route, id=route[0]) for route in (ROUTES | ROUTES_TO_COME).items()]
)
def test_a_type_reaches_its_functions(stack: "Stack", event_type: str, functions: set[str]) -> None:
    assert reached(stack, source="openai.com", event_type=event_type) == functions


def test_every_type_has_its_functions_stated() -> None:
    assert ROUTES.keys() == CATALOGUE.keys()


@pytest.mark.parametrize("source", ["", "openai", "openai.com.example", "api.openai.com", "OpenAI.com", "aws.events"])
def test_another_source_reaches_nothing(stack: "Stack", source: str) -> None:
    assert [reached(stack, source=source, event_type=event_type) for event_type in ROUTES] == [set()] * len(ROUTES)


def test_source_is_a_parameter(stack: "Stack") -> None:
    assert reached(stack, source="mine", event_type="batch.failed", EventSource="mine") == {BATCH, FAILURE}
    assert reached(stack, source="openai.com", event_type="batch.failed", EventSource="mine") == set()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_rule(stack: "Stack", function: str) -> None:
    dead_letters, (retries, age), _ = FUNCTIONS[function]
    rule = stack.properties(f"{function}Rule")
    [target] = rule["Targets"]

    assert rule["EventBusName"] == {"Fn::ImportValue": {"Fn::Sub": "${ReceiverStack}-EventBusName"}}
    assert target["Arn"] == arn(function)
    assert target["RetryPolicy"] == {"MaximumRetryAttempts": retries, "MaximumEventAgeInSeconds": age}
    assert target["DeadLetterConfig"] == {"Arn": arn(dead_letters)}
    assert [
        permission["SourceArn"]
        for permission in stack.of("Lambda::Permission").values()
        if permission["FunctionName"] == {"Ref": function}
    ] == [arn(f"{function}Rule")]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_a_function_gives_up_on_joins_what_its_rule_gives_up_on(stack: "Stack", function: str) -> None:
    dead_letters, _, (retries, age) = FUNCTIONS[function]

    assert stack.properties(f"{function}EventInvokeConfig") == {
        "FunctionName": {"Ref": function},
        "Qualifier": "$LATEST",
        "MaximumRetryAttempts": retries,
        "MaximumEventAgeInSeconds": age,
        "DestinationConfig": {"OnFailure": {"Destination": arn(dead_letters)}},
    }


@pytest.mark.parametrize("function", FUNCTIONS)
def test_role_allows_no_more_than_is_needed(stack: "Stack", function: str) -> None:
    dead_letters = FUNCTIONS[function][0]
    assert stack.properties(function)["Role"] == arn(f"{function}Role")
    role = stack.properties(f"{function}Role")

    assert role["ManagedPolicyArns"][0].endswith(":aws:policy/service-role/AWSLambdaBasicExecutionRole")
    assert role["ManagedPolicyArns"][1:] == [{"Ref": "HandledEventsPolicy"}]
    assert [policy["PolicyDocument"]["Statement"] for policy in role["Policies"]] == [
        [{"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn(dead_letters)}]
    ]


def test_policy_of_the_table_allows_no_more_than_is_needed(stack: "Stack") -> None:
    assert stack.properties("HandledEventsPolicy")["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Action": ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"],
            "Resource": arn("HandledEventsTable"),
        }
    ]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_retry_comes_after_the_claim_of_a_try_that_was_cut_off(stack: "Stack", function: str) -> None:
    # Lambda waits a minute before its first retry, and a claim lasts as long as its try can.
    assert stack.properties(function)["Timeout"] < 60


@pytest.mark.parametrize("function", FUNCTIONS)
def test_logs_are_kept_for_a_limited_time(stack: "Stack", function: str) -> None:
    log = stack.properties(function)["LoggingConfig"]["LogGroup"]["Ref"]

    assert stack.properties(log) == {"RetentionInDays": {"Ref": "LogRetentionDays"}}


def test_every_function_is_among_the_expected(stack: "Stack") -> None:
    assert stack.of("Lambda::Function").keys() == FUNCTIONS.keys()
    assert stack.of("Events::Rule").keys() == {f"{function}Rule" for function in FUNCTIONS}


def test_dead_letters_are_encrypted_and_kept_for_14_days(stack: "Stack") -> None:
    queues = stack.of("SQS::Queue")

    assert queues.keys() == {dead_letters for dead_letters, _, _ in FUNCTIONS.values()}
    assert all(
        queue == {"SqsManagedSseEnabled": True, "MessageRetentionPeriod": 14 * 86_400} for queue in queues.values()
    )


def test_only_the_rules_may_write_dead_letters(stack: "Stack") -> None:
    [policy] = stack.of("SQS::QueuePolicy").values()

    assert [queue["Ref"] for queue in policy["Queues"]] == [dead_letters for dead_letters, _, _ in FUNCTIONS.values()]
    assert policy["PolicyDocument"]["Statement"] == [
        {
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": "*",
            "Condition": {"ArnEquals": {"aws:SourceArn": [arn(f"{function}Rule") for function in FUNCTIONS]}},
        }
    ]


@pytest.mark.parametrize("kind", ["SQS::Queue", "DynamoDB::Table", "Logs::LogGroup"])
def test_what_holds_data_says_what_becomes_of_it(stack: "Stack", kind: str) -> None:
    holders = [stack.resources[name] for name in stack.of(kind)]

    assert holders
    assert all((holder["DeletionPolicy"], holder["UpdateReplacePolicy"]) == ("Delete", "Retain") for holder in holders)


def test_nothing_has_a_physical_name(stack: "Stack") -> None:
    named = {
        f"{name}.{key}"
        for name, resource in stack.resources.items()
        for key in resource["Properties"]
        if key in {"FunctionName", "QueueName", "TableName", "LogGroupName", "RoleName", "ManagedPolicyName", "Name"}
        and resource["Type"] not in {"AWS::Lambda::Permission", "AWS::Lambda::EventInvokeConfig"}
    }

    assert named == set()


@pytest.mark.parametrize(
    ("title", "matched"),
    [
        ("one type", {"response.completed"}),
        ("several types", {"response.completed", "response.incomplete"}),
        ("a family", {"batch.cancelled", "batch.completed", "batch.expired", "batch.failed"}),
        ("across families", {event_type for event_type, functions in ROUTES.items() if FAILURE in functions}),
        ("all but some", {event_type for event_type in ROUTES if not event_type.startswith("safety")}),
        ("one resource", set(ROUTES)),
    ],
)
def test_pattern_of_the_readme(title: str, matched: set[str]) -> None:
    pattern = EventPattern.load(json.dumps(yaml.safe_load(PATTERNS[title])))

    assert {event_type for event_type in ROUTES if pattern.matches_event(event("openai.com", event_type))} == matched
    assert not any(pattern.matches_event(event("example.com", event_type)) for event_type in ROUTES)


def test_pattern_of_the_readme_for_one_resource() -> None:
    pattern = EventPattern.load(json.dumps(yaml.safe_load(PATTERNS["one resource"])))

    assert not pattern.matches_event(event("openai.com", "response.completed", resource_id="resp_1234"))


def test_versions_are_the_receivers() -> None:
    receiver, subscriber = (
        {line for line in (ROOT / path).read_text().splitlines() if re.match(r"[\w-]+==", line)}
        for path in ("src/requirements.txt", "examples/subscriber/functions/requirements.txt")
    )

    assert subscriber == receiver


def reached(stack: "Stack", *, source: str, event_type: str, **parameters: str) -> set[str]:
    """The functions that the rules hand an event to."""
    return {
        target["Arn"]["Fn::GetAtt"][0]
        for rule in stack.of("Events::Rule").values()
        if pattern(rule, {"EventSource": "openai.com"} | parameters).matches_event(event(source, event_type))
        for target in rule["Targets"]
    }


def event(source: str, event_type: str, *, resource_id: str = "resp_123") -> Any:
    return {
        "source": source,
        "detail-type": event_type,
        "detail": {"id": "evt_1", "type": event_type, "data": {"id": resource_id}},
    }


def pattern(rule: dict[str, Any], parameters: dict[str, str]) -> EventPattern:
    def resolve(node: dict[str, Any]) -> object:
        return parameters[node["Ref"]] if node.keys() == {"Ref"} else node

    return EventPattern.load(json.dumps(json.loads(json.dumps(rule["EventPattern"]), object_hook=resolve)))


def arn(name: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, "Arn"]}
