"""The parameters, their bounds, and the templates that they result in."""

import inspect
import re
from typing import Final

import pytest
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
    "AlarmEmail": ["", "me@example.com", "on-call+openai@a.b.co"],
    "AlarmTopicArn": ["", "arn:aws:sns:us-east-1:111122223333:ops", "arn:aws-cn:sns:cn-north-1:111122223333:ops.fifo"],
    "CertificateArn": ["", "arn:aws:acm:us-east-1:111122223333:certificate/0a1b-2c"],
    "DomainName": ["", "hooks.example.com", "a-1.b.co"],
    "EventBusName": ["", "default", "team.events_1-x", "a" * 128],
    "EventSource": ["openai.com", "a", "awsome", "a" * 64],
    "HostedZoneId": ["", "Z0123456789ABC"],
}
REFUSED: Final = {
    "AlarmEmail": ["me", "@example.com", "me@", "a@b, c@d", "a@b@c"],
    "AlarmTopicArn": ["ops", "arn:aws:sqs:us-east-1:111122223333:ops", "arn:aws:sns:us-east-1:1:ops"],
    "CertificateArn": ["certificate/0a1b", "arn:aws:iam::111122223333:server-certificate/x"],
    "DomainName": ["localhost", "https://hooks.example.com", "hooks.example.com/", "Hooks.example.com"],
    "EventBusName": ["a b", "aws.partner/example.com/x", "arn:aws:events:us-east-1:1:event-bus/x", "a" * 257],
    "EventSource": ["", "aws.events", "openai com", "a" * 129],
    "HostedZoneId": ["/hostedzone/Z1", "z1"],
}
TOPIC: Final = "arn:aws:sns:us-east-1:111122223333:ops"
ARN: Final = "arn:aws:acm:us-east-1:111122223333:certificate/00000000-0000-0000-0000-000000000000"
MINIMUM: Final = {name: str(parameter["MinValue"]) for name, parameter in NUMBERS.items()}
MAXIMUM: Final = {name: str(parameter["MaxValue"]) for name, parameter in NUMBERS.items()}
SETTINGS: Final = {
    "least": MINIMUM
    | {"EventBusName": "team", "Alarms": "disabled", "CreateArrivalLogPolicy": "false", "AlarmTopicArn": TOPIC},
    "default bus": {"EventBusName": "default"},
    "everything": MAXIMUM
    | {"AlarmEmail": "me@example.com", "CreateDashboard": "true"}
    | {"GradualDeployment": "true", "HostedZoneId": "Z0123456789ABC", "Architecture": "arm64"}
    | {"SnapStart": "PublishedVersions", "SubscriberAccounts": "111122223333,444455556666", "Tracing": "true"}
    | {"PlatformLogs": "true"}
    | {"DomainName": "a.b.co", "CertificateArn": ARN},
}
"""Both values of every condition."""


@pytest.fixture(scope="module")
def linter() -> Runner:
    # SAM's transform uses GradualDeployment, and its output no longer refers to it.
    return Runner(ConfigMixIn(ignore_checks=["W2001"], regions=["us-east-1"]))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_template_lints_after_transform(linter: Runner, settings: dict[str, str]) -> None:
    assert complaints(linter, RECEIVER.at(**settings)) == []


def test_settings_have_both_values_of_every_condition() -> None:
    stacks = [RECEIVER.untransformed(**settings) for settings in SETTINGS.values()]
    for condition in stacks[0].template["Conditions"]:
        assert {stack.holds({"Condition": condition}) for stack in stacks} == {True, False}, condition


def test_deduplication_covers_openai_retries() -> None:
    assert NUMBERS["DeduplicationHours"]["MinValue"] >= OPENAI_RETRIES
    assert NUMBERS["DeduplicationHours"]["Default"] > OPENAI_RETRIES


def test_tolerance_defaults_to_tolerance_of_verify() -> None:
    assert NUMBERS["TimestampToleranceSeconds"]["Default"] == inspect.signature(verify).parameters["tolerance"].default


@pytest.mark.parametrize(("examples", "matches"), [(ACCEPTED, True), (REFUSED, False)], ids=["accepts", "refuses"])
def test_pattern_matches_only_valid_values(*, examples: dict[str, list[str]], matches: bool) -> None:
    for name, values in examples.items():
        pattern = PARAMETERS[name]["AllowedPattern"]
        assert [value for value in values if bool(re.fullmatch(pattern, value, re.ASCII)) != matches] == [], name


def test_every_pattern_has_examples() -> None:
    patterns = {name for name, parameter in PARAMETERS.items() if "AllowedPattern" in parameter}

    assert patterns == ACCEPTED.keys() == REFUSED.keys()


def test_every_parameter_is_bounded() -> None:
    for name, parameter in PARAMETERS.items():
        bounds = parameter.keys() & {"AllowedValues", "AllowedPattern", "MinValue", "MaxValue"}
        assert bounds or parameter["Type"] == "CommaDelimitedList", name


def test_every_parameter_is_in_one_group() -> None:
    groups = RECEIVER.read()["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]

    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(PARAMETERS)
    assert all(group["Label"]["default"] for group in groups)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("DomainWithCertificate", {"DomainName": "hooks.example.com"}),
        ("OneAlarmReceiver", {"AlarmEmail": "me@example.com", "AlarmTopicArn": TOPIC}),
    ],
)
def test_rule_refuses_parameters_that_do_not_fit(name: str, parameters: dict[str, str]) -> None:
    stack = RECEIVER.untransformed(**parameters)
    rule = stack.template["Rules"][name]

    assert stack.holds(rule["RuleCondition"])
    assert [stack.holds(assertion["Assert"]) for assertion in rule["Assertions"]] == [False]


def complaints(linter: Runner, stack: Stack) -> list[str]:
    template, errors = decode_str(stack.json)
    return [str(match) for match in [*errors, *linter.validate_template(template)]]
