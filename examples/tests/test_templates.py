"""What the examples' templates have in common: retries, dead-letter queues, alarms, logs, permissions, the API key."""

import json
import re
from typing import Any, Final

import pytest

from examples.tests.support.templates import EXAMPLES, as_list, event_rules
from openai_webhooks_cli.local.openai_stand_in import API_KEY
from tests.support.paths import ROOT
from tests.support.templates import RECEIVER, Stack, deduplication_hours

DAY: Final = 86_400
BASIC_EXECUTION: Final = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
WITH_OPENAI: Final = {
    name: source for name, source in EXAMPLES.items() if "OpenAIApiKeySecretName" in source.read()["Parameters"]
}
"""The examples that call OpenAI's API."""
KEY: Final = (
    "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:secret:${OpenAIApiKeySecretName}-??????"
)
ALL: Final = pytest.mark.parametrize("stack", [source.defaults for source in EXAMPLES.values()], ids=EXAMPLES)
CALLERS: Final = pytest.mark.parametrize("stack", [source.defaults for source in WITH_OPENAI.values()], ids=WITH_OPENAI)


LONG: Final = (185, DAY), (2, 6 * 3_600)
URGENT: Final = (185, 60), (0, 60)  # nobody waits for an answer that is a minute old
LAMBDA_RETRY_DELAY: Final = 60
"""Seconds before Lambda's first retry: https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-error-handling.html"""


@ALL
def test_events_are_retried_as_long_as_they_matter(stack: Stack) -> None:
    for name, rule in event_rules(stack).items():
        [target] = rule["Targets"]
        function = target["Arn"]["Fn::GetAtt"][0]
        config = stack.properties(f"{function}EventInvokeConfig")

        assert (retries(target["RetryPolicy"]), retries(config)) == (URGENT if "Call" in name else LONG), name
        assert (config["FunctionName"], config["Qualifier"]) == ({"Ref": function}, "$LATEST"), name
        assert target["DeadLetterConfig"]["Arn"] == config["DestinationConfig"]["OnFailure"]["Destination"], name


def retries(policy: dict[str, Any]) -> tuple[int, int]:
    """Return how often and for how many seconds events are retried."""
    return policy["MaximumRetryAttempts"], policy["MaximumEventAgeInSeconds"]


@ALL
def test_rule_may_invoke_only_its_function(stack: Stack) -> None:
    allowed = {
        (permission["SourceArn"]["Fn::GetAtt"][0], permission["FunctionName"]["Ref"])
        for permission in stack.of("Lambda::Permission").values()
    }

    assert allowed == {
        (name, target["Arn"]["Fn::GetAtt"][0])
        for name, rule in stack.of("Events::Rule").items()
        for target in rule["Targets"]
    }


@ALL
def test_claim_expires_before_retry(stack: Stack) -> None:
    # After a time-out, the claim lasts until the end of the function's time-out.
    for name, function in stack.of("Lambda::Function").items():
        if "HANDLED_EVENTS_TABLE_NAME" in function["Environment"]["Variables"]:
            assert function["Timeout"] < LAMBDA_RETRY_DELAY, name


@ALL
def test_every_function_has_its_own_queue(stack: Stack) -> None:
    queues = [
        config["DestinationConfig"]["OnFailure"]["Destination"]["Fn::GetAtt"][0]
        for config in stack.of("Lambda::EventInvokeConfig").values()
    ]

    assert sorted(queues) == sorted(stack.of("SQS::Queue"))
    for queue in stack.of("SQS::Queue").values():
        assert queue == {"SqsManagedSseEnabled": True, "MessageRetentionPeriod": 14 * DAY}


@ALL
def test_only_rules_may_write_dead_letters(stack: Stack) -> None:
    [policy] = stack.of("SQS::QueuePolicy").values()
    [statement] = policy["PolicyDocument"]["Statement"]
    senders = statement["Condition"]["ArnEquals"]["aws:SourceArn"]

    assert [queue["Ref"] for queue in policy["Queues"]] == list(stack.of("SQS::Queue"))
    assert (statement["Principal"], statement["Action"]) == ({"Service": "events.amazonaws.com"}, "sqs:SendMessage")
    assert as_list(senders) == [{"Fn::GetAtt": [rule, "Arn"]} for rule in event_rules(stack)]


@ALL
def test_alarm_fires_at_first_dead_letter(stack: Stack) -> None:
    alarms = stack.of("CloudWatch::Alarm").values()
    watched = [dimension["Value"]["Fn::GetAtt"] for alarm in alarms for dimension in alarm["Dimensions"]]

    assert sorted(watched) == sorted([queue, "QueueName"] for queue in stack.of("SQS::Queue"))
    for alarm in alarms:
        assert alarm["AlarmActions"] == {"Fn::If": ["NotifyTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}
        assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/SQS", "ApproximateNumberOfMessagesVisible")
        fires = (alarm["Statistic"], alarm["ComparisonOperator"], alarm["Threshold"], alarm["TreatMissingData"])
        assert fires == ("Maximum", "GreaterThanThreshold", 0, "notBreaching")
        assert alarm["EvaluationPeriods"] * alarm["Period"] <= 300


@ALL
def test_records_and_logs_expire(stack: Stack) -> None:
    # The attributes that Powertools and the workflow's function write.
    written = {"HandledEventsTable": "expiration", "ExecutionsTable": "expires_at"}

    for name, table in stack.of("DynamoDB::Table").items():
        assert table["TimeToLiveSpecification"] == {"AttributeName": written[name], "Enabled": True}
    for function in stack.of("Lambda::Function").values():
        log = function["LoggingConfig"]["LogGroup"]["Ref"]
        assert stack.properties(log) == {"RetentionInDays": {"Ref": "LogRetentionDays"}}


@ALL
def test_statements_name_actions_and_resources(stack: Stack) -> None:
    for holder, statement in statements(stack):
        actions, resources = as_list(statement["Action"]), as_list(statement["Resource"])
        is_deny = statement["Effect"] == "Deny"

        assert is_deny or not any("*" in action for action in actions), holder
        # In a queue policy, "*" means the queues that the policy is attached to.
        assert "*" not in resources or stack.resources[holder]["Type"] == "AWS::SQS::QueuePolicy", holder


@ALL
def test_every_function_has_its_own_role_with_own_policies(stack: Stack) -> None:
    own = {json.dumps({"Ref": name}) for name in stack.of("IAM::ManagedPolicy")}

    for name, function in stack.of("Lambda::Function").items():
        assert function["Role"] == {"Fn::GetAtt": [f"{name}Role", "Arn"]}
    for name, role in stack.of("IAM::Role").items():
        attached = {
            policy if isinstance(policy, str) else json.dumps(policy) for policy in role.get("ManagedPolicyArns", [])
        }
        assert attached <= own | {BASIC_EXECUTION}, name


@CALLERS
def test_functions_may_read_only_api_key(stack: Stack) -> None:
    secrets = [statement for _, statement in statements(stack) if "secretsmanager" in json.dumps(statement["Action"])]

    assert secrets
    for statement in secrets:
        assert (statement["Action"], statement["Resource"]) == ("secretsmanager:GetSecretValue", {"Fn::Sub": KEY})


@CALLERS
def test_template_has_no_api_key(stack: Stack) -> None:
    assert stack.of("SecretsManager::Secret") == {}
    assert API_KEY not in stack.json
    assert not re.search(r"\bsk-[\w-]{8,}", stack.json)


ADDRESSES: Final = {
    "https://api.openai.com/v1": True,
    "https://eu.api.openai.com/v1": True,
    "http://127.0.0.1:8080/v1": True,
    "http://api.openai.com/v1": False,
    "http://127.0.0.1.example.com/v1": False,
    "api.openai.com": False,
    "": False,
}
"""Addresses of OpenAI's API, and whether CloudFormation accepts them. The API key goes there."""


@CALLERS
def test_parameters_cannot_expose_api_key(stack: Stack) -> None:
    address = stack.parameters["OpenAIBaseUrl"]["AllowedPattern"]
    name = stack.parameters["OpenAIApiKeySecretName"]["AllowedPattern"]

    assert {text: bool(re.fullmatch(address, text)) for text in ADDRESSES} == ADDRESSES
    # The name is a part of the permission.
    assert not [text for text in ("", "*", "key-??????", "a key", "${AWS::StackName}") if re.fullmatch(name, text)]
    assert re.fullmatch(name, "prod/openai_api.key")


@ALL
def test_only_events_of_receiver_match(stack: Stack) -> None:
    for rule in event_rules(stack).values():
        pattern = stack.value(rule["EventPattern"])
        if "EventBusName" in rule:
            assert rule["EventBusName"] == {"Fn::ImportValue": {"Fn::Sub": "${ReceiverStack}-EventBusName"}}
            assert pattern["source"] == [RECEIVER.defaults.parameters["EventSource"]["Default"]]
        else:
            # AWS's own events.
            assert all(source.startswith("aws.") for source in pattern["source"])


@ALL
def test_no_resource_has_physical_name(stack: Stack) -> None:
    keys = {"FunctionName", "QueueName", "TableName", "LogGroupName", "RoleName", "ManagedPolicyName", "BucketName"}
    named = [
        f"{name}.{key}"
        for name, resource in stack.resources.items()
        for key in keys & resource["Properties"].keys()
        if resource["Type"] not in {"AWS::Lambda::Permission", "AWS::Lambda::EventInvokeConfig"}
    ]

    assert named == []


def test_examples_share_parameters() -> None:
    for names, sources in (
        (["ReceiverStack", "EventSource", "AlarmTopicArn", "LogLevel", "LogRetentionDays"], EXAMPLES.values()),
        (["OpenAIApiKeySecretName", "OpenAIBaseUrl"], WITH_OPENAI.values()),
    ):
        for name in names:
            assert len({json.dumps(source.read()["Parameters"][name]) for source in sources}) == 1, name


@pytest.mark.parametrize("example", EXAMPLES)
def test_template_sets_variables_that_functions_read(example: str) -> None:
    functions = list((ROOT / "examples" / example / "functions").glob("*.py"))
    shared = {
        name for file in functions for name in re.findall(r"from (openai_webhooks_subscriber\.\w+)", file.read_text())
    }
    files = [*functions, *(ROOT / "examples/shared" / f"{name.replace('.', '/')}.py" for name in shared)]
    declared = {
        variable
        for function in EXAMPLES[example].defaults.of("Lambda::Function").values()
        for variable in function["Environment"]["Variables"]
    }

    expected = {name for file in files for name in re.findall(r'os\.environ\["(\w+)"\]', file.read_text())} | {
        "POWERTOOLS_SERVICE_NAME",
        "POWERTOOLS_LOG_LEVEL",
    }
    assert declared - {"AWS_ENDPOINT_URL", "OPENAI_BASE_URL"} == expected
    assert ("OPENAI_BASE_URL" in declared) == ("openai_webhooks_subscriber.openai_api" in shared)


def test_subscribers_remember_as_long_as_receiver() -> None:
    handle_once = ROOT / "examples/shared/openai_webhooks_subscriber/once.py"
    [hours] = re.findall(r"(\d+) \* 3600", handle_once.read_text())

    assert int(hours) == deduplication_hours()


def statements(stack: Stack) -> list[tuple[str, dict[str, Any]]]:
    """Return the holder and the text of every statement, except roles' trust policies."""
    found = []
    for holder, resource in stack.resources.items():
        properties = resource["Properties"]
        documents = [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
        if "PolicyDocument" in properties:
            documents.append(properties["PolicyDocument"])
        found += [(holder, statement) for document in documents for statement in document["Statement"]]
    return found
