"""Updates of the stack: what they never touch, and when they publish a new version of the function."""

import re
from typing import Any, Final

import pytest

from openai_webhooks import InvalidSecret, decode_secret
from tests.support.templates import RECEIVER

KEPT: Final = ("SigningSecret", "DeliveriesTable")
"""The secret, and the record of what was published. No update may replace or delete them."""
PLACEHOLDER: Final = RECEIVER.defaults.properties("SigningSecret")["SecretString"]


@pytest.mark.parametrize("name", KEPT)
def test_kept_resource_depends_on_nothing(name: str) -> None:
    resource = RECEIVER.defaults.resources[name]

    assert references(resource) == set()
    assert "Condition" not in resource
    assert "DependsOn" not in resource


def test_placeholder_secret_is_unchanged() -> None:
    # If this text changes, CloudFormation overwrites the real secret of every deployed stack with the new text.
    assert PLACEHOLDER == "Placeholder until the signing secret is stored."


def test_placeholder_secret_verifies_nothing() -> None:
    for part in [PLACEHOLDER, *PLACEHOLDER.split()]:
        with pytest.raises(InvalidSecret):
            decode_secret(part)


def test_version_description_lists_parameters_of_function() -> None:
    # A new value alone publishes no version: the hash in the version's name leaves out the values of parameters. A new
    # description does. https://github.com/aws/serverless-application-model/issues/1640
    stack = RECEIVER.defaults
    [version] = stack.of("Lambda::Version").values()

    listed = references(version.get("Description")) & stack.parameters.keys()
    assert listed == references(stack.resources["ReceiverFunction"]) & stack.parameters.keys()


def test_version_description_fits_256_characters() -> None:
    [version] = RECEIVER.defaults.of("Lambda::Version").values()
    parameters = RECEIVER.defaults.parameters
    description = version["Description"]["Fn::Sub"]

    assert len(re.sub(r"\$\{(\w+)\}", lambda match: longest(parameters[match[1]]), description)) <= 256


def longest(parameter: dict[str, Any]) -> str:
    if "AllowedPattern" in parameter:
        [most] = re.findall(r"\{\d+,(\d+)\}\$$", parameter["AllowedPattern"])
        return "a" * int(most)
    return max((str(value) for value in parameter.get("AllowedValues", [parameter.get("MaxValue")])), key=len)


def references(node: Any) -> set[str]:
    """Return the names in every `Ref`, `Fn::GetAtt` and `Fn::Sub` under a node, and in the conditions of `Fn::If`."""
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
        elif function == "Fn::If":
            found |= references(RECEIVER.defaults.template["Conditions"][argument[0]]) | references(argument[1:])
        elif function == "Fn::Sub":
            text = argument if isinstance(argument, str) else argument[0]
            found |= set(re.findall(r"\$\{(\w+)[}.]", text)) | references(argument)
        else:
            found |= references(argument)
    return found
