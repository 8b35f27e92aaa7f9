"""What can be set, within which bounds, and that whatever can be set gives a sound template."""

import re
from typing import TYPE_CHECKING, Any, Final

import pytest
from cfnlint.api import lint  # type: ignore[import-untyped]
from cfnlint.config import ConfigMixIn  # type: ignore[import-untyped]
from cfnlint.decode import decode_str  # type: ignore[import-untyped]
from cfnlint.runner import Runner  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from tests.unit.template.conftest import Source, Stack

BOUNDS: Final = {
    "ArchiveRetentionDays": (0, 14, 3650),
    "DeduplicationHours": (72, 96, 8760),
    "MemorySize": (256, 512, 10240),
    "ThrottlingBurst": (1, 1000, 5000),
    "ThrottlingRate": (1, 500, 10000),
    "TimestampToleranceSeconds": (60, 300, 600),
}
ACCEPTED: Final = {
    "AlarmTopicArn": ["", "arn:aws:sns:us-east-1:111122223333:ops", "arn:aws-cn:sns:cn-north-1:111122223333:ops.fifo"],
    "CertificateArn": ["", "arn:aws:acm:us-east-1:111122223333:certificate/0a1b-2c"],
    "DomainName": ["", "hooks.example.com", "a-1.b.co"],
    "EventBusName": ["", "default", "team.events_1-x", "a" * 128],
    "EventSource": ["openai.com", "a", "awsome", "a" * 64],
    "HostedZoneId": ["", "Z0123456789ABC"],
}
REFUSED: Final = {
    "AlarmTopicArn": ["ops", "arn:aws:sqs:us-east-1:111122223333:ops", "arn:aws:sns:us-east-1:1:ops"],
    "CertificateArn": ["certificate/0a1b", "arn:aws:iam::111122223333:server-certificate/x"],
    "DomainName": ["localhost", "https://hooks.example.com", "hooks.example.com/", "Hooks.example.com"],
    "EventBusName": ["a b", "aws.partner/example.com/x", "arn:aws:events:us-east-1:1:event-bus/x", "a" * 257],
    "EventSource": ["", "aws.events", "openai com", "a" * 129],
    "HostedZoneId": ["/hostedzone/Z1", "z1"],
}
ARM: Final = {"Architecture": "arm64"}
TOPIC: Final = {"AlarmTopicArn": "arn:aws:sns:us-east-1:111122223333:ops"}
DOMAIN: Final = {
    "DomainName": "hooks.example.com",
    "CertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/00000000-0000-0000-0000-000000000000",
}
SETTINGS: Final = {
    "defaults": {},
    "every minimum": {name: str(least) for name, (least, _, _) in BOUNDS.items()},
    "every maximum": {name: str(most) for name, (_, _, most) in BOUNDS.items()},
    "existing bus": {"EventBusName": "team"},
    "existing bus, no archive": {"EventBusName": "team", "ArchiveRetentionDays": "0"},
    "other accounts": {"SubscriberAccounts": "111122223333,444455556666"},
    "SnapStart": {"SnapStart": "PublishedVersions"},
    "SnapStart on arm64": {"SnapStart": "PublishedVersions"} | ARM,
    "alarms": {"Alarms": "enabled"},
    "alarms with a topic": {"Alarms": "enabled"} | TOPIC,
    "gradual deployment": {"GradualDeployment": "true"},
    "domain": DOMAIN,
    "domain with its zone": DOMAIN | {"HostedZoneId": "Z0123456789ABC"},
    "everything": {"Alarms": "enabled", "GradualDeployment": "true", "HostedZoneId": "Z0123456789ABC"}
    | {"SnapStart": "PublishedVersions", "SubscriberAccounts": "111122223333"}
    | (ARM | TOPIC | DOMAIN),
}


@pytest.fixture(scope="module")
def linter() -> Runner:
    # GradualDeployment decides what SAM writes, and doesn't appear in it.
    return Runner(ConfigMixIn(ignore_checks=["W2001"], regions=["us-east-1"]))


@pytest.mark.parametrize("name", ["receiver", "subscriber"])
def test_template_as_it_is_written_lints(sources: "dict[str, Source]", name: str) -> None:
    assert lint(sources[name].text) == []


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_receiver_lints(linter: Runner, receiver: "Source", settings: dict[str, str]) -> None:
    assert complaints(linter, receiver.at(**settings)) == []


def test_subscriber_lints(linter: Runner, stacks: "dict[str, Stack]") -> None:
    assert complaints(linter, stacks["subscriber"]) == []


def test_bounds(receiver: "Source") -> None:
    numbers = {
        name: (parameter["MinValue"], parameter["Default"], parameter["MaxValue"])
        for name, parameter in receiver.read()["Parameters"].items()
        if "MinValue" in parameter
    }

    assert numbers == BOUNDS


def test_every_allowed_value_translates(sources: "dict[str, Source]") -> None:
    for source in sources.values():
        allowed = {
            name: [str(value) for value in parameter["AllowedValues"]]
            for name, parameter in source.read()["Parameters"].items()
            if "AllowedValues" in parameter
        }
        for turn in range(max(map(len, allowed.values()))):
            assert source.at(**{name: values[turn % len(values)] for name, values in allowed.items()}).created


@pytest.mark.parametrize(("name", "values"), ACCEPTED.items(), ids=ACCEPTED)
def test_accepted(receiver: "Source", name: str, values: list[str]) -> None:
    pattern = receiver.read()["Parameters"][name]["AllowedPattern"]

    assert [value for value in values if not re.fullmatch(pattern, value, re.ASCII)] == []


@pytest.mark.parametrize(("name", "values"), REFUSED.items(), ids=REFUSED)
def test_refused(receiver: "Source", name: str, values: list[str]) -> None:
    pattern = receiver.read()["Parameters"][name]["AllowedPattern"]

    assert [value for value in values if re.fullmatch(pattern, value, re.ASCII)] == []


def test_every_pattern_is_tried(receiver: "Source") -> None:
    patterns = {name for name, parameter in receiver.read()["Parameters"].items() if "AllowedPattern" in parameter}

    assert patterns == ACCEPTED.keys() == REFUSED.keys()


@pytest.mark.parametrize("name", ["receiver", "subscriber"])
def test_every_parameter_is_described_and_bounded(sources: "dict[str, Source]", name: str) -> None:
    for parameter, declared in sources[name].read()["Parameters"].items():
        assert declared.keys() >= {"Type", "Description", "Default"}, parameter
        assert bounded(declared), parameter


def test_every_parameter_is_in_one_group(receiver: "Source") -> None:
    source = receiver.read()
    groups = source["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    grouped = [name for group in groups for name in group["Parameters"]]

    assert sorted(grouped) == sorted(source["Parameters"])
    assert all(group["Label"]["default"] for group in groups)


def test_a_domain_needs_a_certificate(receiver: "Source") -> None:
    stack = receiver.at(DomainName="hooks.example.com")
    rule = stack.template["Rules"]["DomainWithCertificate"]

    assert stack.holds(rule["RuleCondition"])
    assert [stack.holds(assertion["Assert"]) for assertion in rule["Assertions"]] == [False]


def bounded(parameter: dict[str, Any]) -> bool:
    return (
        parameter["Type"] == "CommaDelimitedList"
        or "AllowedValues" in parameter
        or (parameter["Type"] == "String" and "AllowedPattern" in parameter)
        or (parameter["Type"] == "Number" and parameter.keys() >= {"MinValue", "MaxValue"})
    )


def complaints(linter: Runner, stack: "Stack") -> list[str]:
    template, errors = decode_str(stack.json)
    return [str(match) for match in [*errors, *linter.validate_template(template)]]
