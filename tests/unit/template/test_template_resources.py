"""What the stacks consist of, and what becomes of each part that holds data."""

import re
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.unit.template.conftest import Source, Stack

ALWAYS: Final = {
    "AccessLog": "Logs::LogGroup",
    "Api": "ApiGatewayV2::Api",
    "ApiApiGatewayDefaultStage": "ApiGatewayV2::Stage",
    "ArrivalLog": "Logs::LogGroup",
    "ArrivalLogPolicy": "Logs::ResourcePolicy",
    "ArrivalRule": "Events::Rule",
    "DeliveriesTable": "DynamoDB::Table",
    "ErrorAlarm": "CloudWatch::Alarm",
    "ReceiverFunction": "Lambda::Function",
    "ReceiverFunctionAliaslive": "Lambda::Alias",
    "ReceiverFunctionDeliveryPermission": "Lambda::Permission",
    "ReceiverFunctionVersion": "Lambda::Version",
    "ReceiverLog": "Logs::LogGroup",
    "ReceiverRole": "IAM::Role",
    "SigningSecret": "SecretsManager::Secret",
}
BUS: Final = {"EventBus": "Events::EventBus"}
ARCHIVE: Final = {"EventArchive": "Events::Archive"}
SHARING: Final = {"SubscriberAccountsPolicy": "Events::EventBusPolicy"}
ALARMS: Final = dict.fromkeys(("RefusalAlarm", "ArrivalAlarm", "DeduplicationAlarm"), "CloudWatch::Alarm") | {
    "Dashboard": "CloudWatch::Dashboard"
}
DOMAIN: Final = {"Domain": "ApiGatewayV2::DomainName", "DomainMapping": "ApiGatewayV2::ApiMapping"}
RECORD: Final = {"DomainRecord": "Route53::RecordSet"}
GRADUAL: Final = {
    "CodeDeployServiceRole": "IAM::Role",
    "ReceiverFunctionDeploymentGroup": "CodeDeploy::DeploymentGroup",
    "ServerlessDeploymentApplication": "CodeDeploy::Application",
}
DEFAULT: Final = ALWAYS | BUS | ARCHIVE

SUBSCRIBER: Final = {
    "DeadLettersPolicy": "SQS::QueuePolicy",
    "FunctionsLog": "Logs::LogGroup",
    "HandledEventsPolicy": "IAM::ManagedPolicy",
    "HandledEventsTable": "DynamoDB::Table",
} | {
    f"On{name}{part}": type_
    for name in ("ResponseCompleted", "Batch", "Failure", "Call")
    for part, type_ in {
        "DeadLetters": "SQS::Queue",
        "Function": "Lambda::Function",
        "FunctionEventInvokeConfig": "Lambda::EventInvokeConfig",
        "FunctionRole": "IAM::Role",
        "FunctionRule": "Events::Rule",
        "FunctionRulePermission": "Lambda::Permission",
    }.items()
}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param({}, DEFAULT, id="defaults"),
        pytest.param({"EventBusName": "team"}, ALWAYS | ARCHIVE, id="existing bus"),
        pytest.param({"ArchiveRetentionDays": "0"}, ALWAYS | BUS, id="no archive"),
        pytest.param({"EventBusName": "team", "ArchiveRetentionDays": "0"}, ALWAYS, id="the least"),
        pytest.param({"SubscriberAccounts": "111122223333"}, DEFAULT | SHARING, id="another account"),
        pytest.param(
            {"SubscriberAccounts": "111122223333", "EventBusName": "team"},
            ALWAYS | ARCHIVE,
            id="another account on an existing bus, whose policy is its owner's",
        ),
        pytest.param({"Alarms": "enabled"}, DEFAULT | ALARMS, id="alarms"),
        pytest.param({"AlarmTopicArn": "arn:aws:sns:us-east-1:111122223333:ops"}, DEFAULT, id="topic without alarms"),
        pytest.param({"GradualDeployment": "true"}, DEFAULT | GRADUAL, id="gradual deployment"),
        pytest.param({"SnapStart": "PublishedVersions"}, DEFAULT, id="SnapStart"),
        pytest.param({"DomainName": "hooks.example.com"}, DEFAULT | DOMAIN, id="domain"),
        pytest.param(
            {"DomainName": "hooks.example.com", "HostedZoneId": "Z1"}, DEFAULT | DOMAIN | RECORD, id="domain and zone"
        ),
        pytest.param({"HostedZoneId": "Z1"}, DEFAULT, id="zone without domain"),
    ],
)
def test_receiver_consists_of(receiver: "Source", parameters: dict[str, str], expected: dict[str, str]) -> None:
    # SAM names a version by what it hashes.
    created = {re.sub(r"Version\w{10}$", "Version", name): of for name, of in receiver.at(**parameters).created.items()}

    assert created == expected


def test_subscriber_consists_of(stacks: "dict[str, Stack]") -> None:
    assert stacks["subscriber"].created == SUBSCRIBER


STATEFUL: Final = {
    "CloudFormation::CustomResource",
    "DynamoDB::Table",
    "Events::Archive",
    "Lambda::Version",
    "Logs::LogGroup",
    "S3::Bucket",
    "SQS::Queue",
    "SecretsManager::Secret",
}
GOES_WITH_THE_STACK: Final = ("Delete", "Retain")
"""`sam delete` leaves nothing behind; an update that replaces it leaves the old one."""
POLICIES: Final = {
    "receiver": {
        "AccessLog": GOES_WITH_THE_STACK,
        "ArrivalLog": GOES_WITH_THE_STACK,
        "DeliveriesTable": GOES_WITH_THE_STACK,
        # A rule of the archive's own on the bus holds up the bus's deletion.
        "EventArchive": ("Delete", "Delete"),
        # SAM's own choice: a version may still be asked for after its alias has moved on.
        "ReceiverFunctionVersion": ("Retain", None),
        "ReceiverLog": GOES_WITH_THE_STACK,
        "SigningSecret": GOES_WITH_THE_STACK,
    },
    "subscriber": {
        "FunctionsLog": GOES_WITH_THE_STACK,
        "HandledEventsTable": GOES_WITH_THE_STACK,
        "OnBatchDeadLetters": GOES_WITH_THE_STACK,
        "OnCallDeadLetters": GOES_WITH_THE_STACK,
        "OnFailureDeadLetters": GOES_WITH_THE_STACK,
        "OnResponseCompletedDeadLetters": GOES_WITH_THE_STACK,
    },
}


@pytest.mark.parametrize("name", POLICIES)
def test_what_holds_data_says_what_becomes_of_it(stacks: "dict[str, Stack]", name: str) -> None:
    policies = {
        re.sub(r"Version\w{10}$", "Version", logical_id): (
            resource.get("DeletionPolicy"),
            resource.get("UpdateReplacePolicy"),
        )
        for logical_id, resource in stacks[name].resources.items()
        if resource["Type"].removeprefix("AWS::") in STATEFUL or "DeletionPolicy" in resource
    }

    assert policies == POLICIES[name]
