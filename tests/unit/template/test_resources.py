"""The resources of the stack, and what happens to those with data when it is deleted."""

import re
from typing import Final

import pytest

from tests.support.templates import RECEIVER

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
ALARMS: Final = {
    **dict.fromkeys(("RefusalAlarm", "ArrivalAlarm", "DeduplicationAlarm", "SecretAlarm"), "CloudWatch::Alarm"),
    "Dashboard": "CloudWatch::Dashboard",
}
DOMAIN: Final = {"Domain": "ApiGatewayV2::DomainName", "DomainMapping": "ApiGatewayV2::ApiMapping"}
RECORD: Final = {"DomainRecord": "Route53::RecordSet"}
GRADUAL: Final = {
    "CodeDeployServiceRole": "IAM::Role",
    "ReceiverFunctionDeploymentGroup": "CodeDeploy::DeploymentGroup",
    "ServerlessDeploymentApplication": "CodeDeploy::Application",
}
DEFAULT: Final = ALWAYS | BUS | ARCHIVE


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param({}, DEFAULT, id="defaults"),
        pytest.param({"EventBusName": "team"}, ALWAYS | ARCHIVE, id="existing bus"),
        pytest.param({"ArchiveRetentionDays": "0"}, ALWAYS | BUS, id="no archive"),
        pytest.param({"EventBusName": "team", "ArchiveRetentionDays": "0"}, ALWAYS, id="existing bus, no archive"),
        pytest.param({"SubscriberAccounts": "111122223333"}, DEFAULT | SHARING, id="another account"),
        pytest.param(
            {"SubscriberAccounts": "111122223333", "EventBusName": "team"},
            ALWAYS | ARCHIVE,
            id="another account on an existing bus",
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
def test_receiver_creates_expected_resources(parameters: dict[str, str], expected: dict[str, str]) -> None:
    created = RECEIVER.at(**parameters).created

    assert {without_hash(name): kind for name, kind in created.items()} == expected


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
DELETED_WITH_STACK: Final = ("Delete", "Retain")
"""`sam delete` removes it. An update that replaces it keeps the old one."""
POLICIES: Final = {
    "AccessLog": DELETED_WITH_STACK,
    "ArrivalLog": DELETED_WITH_STACK,
    "DeliveriesTable": DELETED_WITH_STACK,
    # The archive creates its own rule on the bus, and a bus that has rules cannot be deleted.
    "EventArchive": ("Delete", "Delete"),
    # SAM sets this: callers may still use an old version.
    "ReceiverFunctionVersion": ("Retain", None),
    "ReceiverLog": DELETED_WITH_STACK,
    "SigningSecret": DELETED_WITH_STACK,
}


def test_stateful_resources_have_deletion_policies() -> None:
    policies = {
        without_hash(name): (resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy"))
        for name, resource in RECEIVER.defaults.resources.items()
        if resource["Type"].removeprefix("AWS::") in STATEFUL or "DeletionPolicy" in resource
    }

    assert policies == POLICIES


def without_hash(name: str) -> str:
    """Return a logical id without the hash that SAM appends to that of a version."""
    return re.sub(r"Version\w{10}$", "Version", name)
