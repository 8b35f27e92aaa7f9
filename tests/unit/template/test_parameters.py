"""The parameters, their bounds, and the templates that they result in."""

import inspect
import re
from typing import Any, Final

import pytest
from cfnlint.api import lint  # type: ignore[import-untyped]  # it has no type hints
from cfnlint.config import ConfigMixIn  # type: ignore[import-untyped]  # it has no type hints
from cfnlint.decode import decode_str  # type: ignore[import-untyped]  # it has no type hints
from cfnlint.runner import Runner  # type: ignore[import-untyped]  # it has no type hints

from openai_webhooks import verify
from tests.support.templates import RECEIVER, Stack

PARAMETERS: Final = RECEIVER.read()["Parameters"]
NUMBERS: Final = {name: parameter for name, parameter in PARAMETERS.items() if "MinValue" in parameter}
OPENAI_RETRIES: Final = 72
"""Hours for which OpenAI retries a delivery: https://platform.openai.com/docs/guides/webhooks"""

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
    "every minimum": {name: str(parameter["MinValue"]) for name, parameter in NUMBERS.items()},
    "every maximum": {name: str(parameter["MaxValue"]) for name, parameter in NUMBERS.items()},
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
    # SAM's transform uses GradualDeployment, and its output no longer refers to it.
    return Runner(ConfigMixIn(ignore_checks=["W2001"], regions=["us-east-1"]))


def test_template_lints() -> None:
    assert lint(RECEIVER.text) == []


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_receiver_lints_after_transform(linter: Runner, settings: dict[str, str]) -> None:
    assert complaints(linter, RECEIVER.at(**settings)) == []


def test_every_allowed_value_translates() -> None:
    allowed = {
        name: [str(value) for value in parameter["AllowedValues"]]
        for name, parameter in RECEIVER.read()["Parameters"].items()
        if "AllowedValues" in parameter
    }

    for turn in range(max(map(len, allowed.values()))):
        assert RECEIVER.at(**{name: values[turn % len(values)] for name, values in allowed.items()}).created


@pytest.mark.parametrize("name", NUMBERS)
def test_default_is_within_bounds(name: str) -> None:
    parameter = NUMBERS[name]

    assert parameter["MinValue"] <= parameter["Default"] <= parameter["MaxValue"]


def test_deduplication_covers_openai_retries() -> None:
    assert NUMBERS["DeduplicationHours"]["MinValue"] >= OPENAI_RETRIES
    assert NUMBERS["DeduplicationHours"]["Default"] > OPENAI_RETRIES


def test_tolerance_defaults_to_tolerance_of_verify() -> None:
    assert NUMBERS["TimestampToleranceSeconds"]["Default"] == inspect.signature(verify).parameters["tolerance"].default


@pytest.mark.parametrize(("name", "values"), ACCEPTED.items(), ids=ACCEPTED)
def test_pattern_accepts(name: str, values: list[str]) -> None:
    pattern = PARAMETERS[name]["AllowedPattern"]

    assert [value for value in values if not re.fullmatch(pattern, value, re.ASCII)] == []


@pytest.mark.parametrize(("name", "values"), REFUSED.items(), ids=REFUSED)
def test_pattern_refuses(name: str, values: list[str]) -> None:
    pattern = PARAMETERS[name]["AllowedPattern"]

    assert [value for value in values if re.fullmatch(pattern, value, re.ASCII)] == []


def test_every_pattern_has_examples() -> None:
    patterns = {name for name, parameter in PARAMETERS.items() if "AllowedPattern" in parameter}

    assert patterns == ACCEPTED.keys() == REFUSED.keys()


def test_every_parameter_is_described_and_bounded() -> None:
    for name, parameter in RECEIVER.read()["Parameters"].items():
        assert parameter.keys() >= {"Type", "Description", "Default"}, name
        assert bounded(parameter), name


def test_every_parameter_is_in_one_group() -> None:
    groups = RECEIVER.read()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]

    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(PARAMETERS)
    assert all(group["Label"]["default"] for group in groups)


def test_domain_needs_certificate() -> None:
    stack = RECEIVER.at(DomainName="hooks.example.com")
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


def complaints(linter: Runner, stack: Stack) -> list[str]:
    template, errors = decode_str(stack.json)
    return [str(match) for match in [*errors, *linter.validate_template(template)]]
