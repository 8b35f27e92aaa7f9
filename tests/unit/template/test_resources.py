"""The resources of the stack, and what happens to those with data when it is deleted."""

import re
from typing import Final

import pytest

from tests.support.templates import RECEIVER

BUS: Final = {"EventBus"}
ARCHIVE: Final = {"EventArchive"}
LOG_POLICY: Final = {"ArrivalLogPolicy"}
SHARING: Final = {"SubscriberAccountsPolicy", "SubscriberAccountsPutRule"}
ALARMS: Final = {"RefusedDeliveries", "RefusedAlarm", "ThrottledRequests", "UnavailableAlarm", "ArrivalAlarm"} | {
    "DeduplicationAlarm",
    "SecretAlarm",
}
MAIL: Final = {"AlarmTopic", "AlarmSubscription"}
TOPIC: Final = "arn:aws:sns:us-east-1:111122223333:ops"
DOMAIN: Final = {"Domain", "DomainMapping"}
RECORD: Final = {"DomainRecord"}
DEFAULT: Final = BUS | ARCHIVE | LOG_POLICY | ALARMS
OPTIONAL: Final = DEFAULT | SHARING | MAIL | DOMAIN | RECORD | {"QuietAlarm", "CanaryAlarm", "Dashboard"}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        pytest.param({}, DEFAULT, id="defaults"),
        pytest.param({"EventBusName": "team"}, DEFAULT - BUS, id="existing bus"),
        pytest.param({"ArchiveRetentionDays": "0"}, DEFAULT - ARCHIVE, id="no archive"),
        pytest.param({"SubscriberAccounts": "111122223333"}, DEFAULT | SHARING, id="another account"),
        pytest.param(
            {"SubscriberAccounts": "111122223333", "EventBusName": "team"},
            DEFAULT - BUS,
            id="another account on an existing bus",
        ),
        pytest.param({"CreateArrivalLogPolicy": "false"}, DEFAULT - LOG_POLICY, id="no log policy"),
        pytest.param({"AlarmEmail": "me@example.com"}, DEFAULT | MAIL, id="mail"),
        pytest.param({"AlarmTopicArn": TOPIC}, DEFAULT, id="topic"),
        pytest.param({"QuietHours": "24"}, DEFAULT | {"QuietAlarm"}, id="quiet"),
        pytest.param({"GradualDeployment": "true"}, DEFAULT | {"CanaryAlarm"}, id="gradual"),
        pytest.param({"CreateDashboard": "true"}, DEFAULT | {"Dashboard"}, id="dashboard"),
        pytest.param(
            {"Alarms": "disabled", "AlarmEmail": "me@example.com", "QuietHours": "24"}, DEFAULT - ALARMS, id="no alarms"
        ),
        pytest.param({"DomainName": "hooks.example.com"}, DEFAULT | DOMAIN, id="domain"),
        pytest.param(
            {"DomainName": "hooks.example.com", "HostedZoneId": "Z1"}, DEFAULT | DOMAIN | RECORD, id="domain and zone"
        ),
        pytest.param({"HostedZoneId": "Z1"}, DEFAULT, id="zone without domain"),
    ],
)
def test_parameters_create_only_their_resources(parameters: dict[str, str], expected: set[str]) -> None:
    stack = RECEIVER.untransformed(**parameters)

    assert stack.created.keys() == stack.resources.keys() - OPTIONAL | expected


def test_gradual_deployment_rolls_back_on_alarm_that_exists() -> None:
    stack = RECEIVER.at(GradualDeployment="true")
    [deployment] = stack.of("CodeDeploy::DeploymentGroup").values()
    alarms = [stack.value(alarm["Name"]) for alarm in deployment["AlarmConfiguration"]["Alarms"]]

    assert alarms == ["CanaryAlarm"]
    assert set(alarms) <= stack.created.keys()


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
