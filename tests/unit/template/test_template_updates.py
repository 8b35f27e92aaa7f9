"""What an update of the stack with other parameters changes, and what it never touches."""

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from openai_webhooks import NotConfigured, decode_secret

if TYPE_CHECKING:
    from tests.unit.template.conftest import Source, Stack

KEPT: Final = ("SigningSecret", "DeliveriesTable")
"""What an update must never replace, empty or take away: the secret and the record of what was published."""

CHANGES: Final = {
    "Alarms": "enabled",
    "AlarmTopicArn": "arn:aws:sns:us-east-1:111122223333:ops",
    "Architecture": "arm64",
    "ArchiveRetentionDays": "0",
    "CertificateArn": "arn:aws:acm:us-east-1:111122223333:certificate/1",
    "DeduplicationHours": "720",
    "DomainName": "hooks.example.com",
    "EventBusName": "team",
    "EventSource": "mine",
    "GradualDeployment": "true",
    "HostedZoneId": "Z1",
    "LogLevel": "DEBUG",
    "LogRetentionDays": "1",
    "MemorySize": "1024",
    "SnapStart": "PublishedVersions",
    "SubscriberAccounts": "111122223333",
    "ThrottlingBurst": "1",
    "ThrottlingRate": "1",
    "TimestampToleranceSeconds": "60",
}


def test_every_parameter_is_changed(receiver: "Source") -> None:
    assert receiver.read()["Parameters"].keys() == CHANGES.keys()


@pytest.mark.parametrize(
    "changed", [{name: value} for name, value in CHANGES.items()] + [CHANGES], ids=[*CHANGES, "all"]
)
def test_no_parameter_touches_what_is_kept(
    receiver: "Source", stacks: "dict[str, Stack]", changed: dict[str, str]
) -> None:
    before, after = stacks["receiver"].resources, receiver.at(**changed).resources

    assert {name: after[name] for name in KEPT} == {name: before[name] for name in KEPT}


@pytest.mark.parametrize("name", KEPT)
def test_what_is_kept_depends_on_nothing(stacks: "dict[str, Stack]", name: str) -> None:
    resource = stacks["receiver"].resources[name]

    assert references(resource) == set()
    assert "Condition" not in resource
    assert "DependsOn" not in resource


def test_secret_is_a_placeholder_that_verifies_nothing(stacks: "dict[str, Stack]") -> None:
    # Word for word: CloudFormation puts another text in the place of the real secret.
    placeholder = stacks["receiver"].resources["SigningSecret"]["Properties"]["SecretString"]

    assert placeholder == "Placeholder until the signing secret is stored."
    for part in [placeholder, *placeholder.split()]:
        with pytest.raises(NotConfigured):
            decode_secret(part)


def test_the_version_that_is_called_is_replaced_with_every_parameter_of_the_function(
    stacks: "dict[str, Stack]",
) -> None:
    # SAM names a version by a hash in which a parameter is its name, not its value, so that none is published for
    # another value: https://github.com/aws/serverless-application-model/issues/1640. CloudFormation replaces a
    # version whose description changes.
    resources = stacks["receiver"].resources
    [version] = [name for name in resources if re.fullmatch(r"ReceiverFunctionVersion\w{10}", name)]
    parameters = stacks["receiver"].template["Parameters"].keys()

    assert (
        references(resources[version]["Properties"].get("Description")) & parameters
        == references(resources["ReceiverFunction"]) & parameters
    )


def test_description_of_a_version_fits_into_256_characters(stacks: "dict[str, Stack]") -> None:
    [version] = [r for r in stacks["receiver"].resources.values() if r["Type"] == "AWS::Lambda::Version"]
    parameters = stacks["receiver"].template["Parameters"]
    description = version["Properties"].get("Description", {}).get("Fn::Sub", "")

    assert len(re.sub(r"\$\{(\w+)\}", lambda match: longest(parameters[match[1]]), description)) <= 256


def longest(parameter: dict[str, Any]) -> str:
    if "AllowedPattern" in parameter:
        [most] = re.findall(r"\{\d+,(\d+)\}\$$", parameter["AllowedPattern"])
        return "a" * int(most)
    return max((str(value) for value in parameter.get("AllowedValues", [parameter.get("MaxValue")])), key=len)


def references(node: Any) -> set[str]:
    """The names in every `Ref`, `Fn::GetAtt`, `Fn::Sub` and `Fn::If` under a node."""
    if isinstance(node, list):
        return {name for item in node for name in references(item)}
    if not isinstance(node, dict):
        return set()
    found: set[str] = set()
    for function, argument in node.items():
        if function == "Ref":
            found.add(argument)
        elif function == "Fn::GetAtt":
            found.add(argument[0])
        elif function == "Fn::Sub":
            text = argument if isinstance(argument, str) else argument[0]
            found |= set(re.findall(r"\$\{(\w+)[}.]", text)) | references(argument)
        else:
            found |= references(argument)
    return found
