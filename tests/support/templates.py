"""The templates, as written and as CloudFormation gets them, and the facts that tests read from them."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from samtranslator.yaml_helper import yaml_parse

from scripts.translate import REGION, translate
from tests.support.paths import ROOT

STACK_NAME: Final = "openai-webhooks"


@dataclass(frozen=True)
class Stack:
    """A template at certain parameters, whose values are the defaults of its parameters."""

    template: dict[str, Any]

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        """All declared resources, with and without a condition."""
        resources: dict[str, dict[str, Any]] = self.template["Resources"]
        return resources

    @property
    def parameters(self) -> dict[str, dict[str, Any]]:
        parameters: dict[str, dict[str, Any]] = self.template["Parameters"]
        return parameters

    @property
    def json(self) -> str:
        return json.dumps(self.template, indent=1)

    @property
    def created(self) -> dict[str, str]:
        """The types of the resources that CloudFormation would create, by logical id."""
        return {
            name: resource["Type"].removeprefix("AWS::")
            for name, resource in self.resources.items()
            if "Condition" not in resource or self.holds({"Condition": resource["Condition"]})
        }

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """The properties of all resources of a type, such as `SQS::Queue`, by logical id."""
        return {
            name: resource["Properties"]
            for name, resource in self.resources.items()
            if resource["Type"] == f"AWS::{kind}"
        }

    def properties(self, name: str) -> dict[str, Any]:
        properties: dict[str, Any] = self.resources[name]["Properties"]
        return properties

    def holds(self, condition: Any) -> bool:
        return self.value(condition) is True

    def value(self, node: Any, references: Mapping[str, str] | None = None) -> Any:
        """Resolve `Ref`, `Fn::If` and the other functions that the templates use.

        `references` has the values of resources (`DeliveriesTable`, `DeliveriesTable.Arn`), pseudo parameters and
        exports of other stacks. A resource or an export that it leaves out resolves to its own name.
        """
        return self._resolve(node, {"AWS::StackName": STACK_NAME, "AWS::Region": REGION} | dict(references or {}))

    def _resolve(self, node: Any, references: Mapping[str, str]) -> Any:
        if isinstance(node, list):
            return [self._resolve(item, references) for item in node]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            [(function, argument)] = node.items()
            if function in FUNCTIONS:
                return FUNCTIONS[function](self._resolve(argument, references))
            if function in {"Condition", "Fn::GetAtt", "Fn::If", "Fn::ImportValue", "Fn::Sub", "Ref"}:
                return self._look_up(function, argument, references)
        return {key: self._resolve(value, references) for key, value in node.items()}

    def _look_up(self, function: str, argument: Any, references: Mapping[str, str]) -> Any:
        match function:
            case "Condition":
                return self._resolve(self.template["Conditions"][argument], references)
            case "Fn::If":
                condition, then, otherwise = argument
                return self._resolve(then if self.holds({"Condition": condition}) else otherwise, references)
            case "Fn::ImportValue":
                export = self._resolve(argument, references)
                return references.get(export, export)
            case "Fn::Sub":
                text, values = (argument, {}) if isinstance(argument, str) else argument
                known = references | self._resolve(values, references)
                return re.sub(r"\$\{([\w:.]+)\}", lambda match: str(self._look_up("Ref", match[1], known)), text)
        name = argument if isinstance(argument, str) else ".".join(argument)
        return references.get(name, self._default(name))

    def _default(self, name: str) -> Any:
        """Return the value of a parameter as CloudFormation passes it on, or the name itself if it is a resource's."""
        if name not in self.template.get("Parameters", {}):
            return name
        default = str(self.parameters[name]["Default"])
        return default.split(",") if self.parameters[name]["Type"] == "CommaDelimitedList" else default


FUNCTIONS: Final[dict[str, Callable[[Any], Any]]] = {
    "Fn::And": all,
    "Fn::Equals": lambda values: str(values[0]) == str(values[1]),
    "Fn::Join": lambda values: values[0].join(values[1]),
    "Fn::Not": lambda values: not values[0],
    "Fn::Or": any,
    "Fn::Select": lambda values: values[1][int(values[0])],
    "Fn::Split": lambda values: values[1].split(values[0]),
}


@dataclass(frozen=True)
class Source:
    """A SAM template as written."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text()

    def read(self) -> dict[str, Any]:
        source: dict[str, Any] = yaml_parse(self.text)
        return source

    @cached_property
    def defaults(self) -> Stack:
        """The template in plain CloudFormation, at its default parameters. Tests share it: do not change it."""
        return self.at()

    def at(self, **parameters: str) -> Stack:
        """Return the template in plain CloudFormation, after SAM's transform, at these parameters."""
        return Stack(json.loads(json.dumps(translate(self.path, **parameters))))

    def untransformed(self, **parameters: str) -> Stack:
        """Return the template as written, at these parameters. Faster than `at`."""
        source = self.read()
        for name, value in parameters.items():
            source["Parameters"][name]["Default"] = value
        return Stack(source)


RECEIVER: Final = Source(ROOT / "template.yaml")


def receiver_environment(references: Mapping[str, str] | None = None, **parameters: str) -> dict[str, str]:
    """Return the receiver's environment variables as the template sets them.

    `references` gives the names or ARNs of resources, by logical id; a resource that it leaves out is named like its
    logical id. `parameters` gives template parameters other than the defaults.
    """
    stack = RECEIVER.untransformed(**parameters)
    variables = stack.properties("ReceiverFunction")["Environment"]["Variables"]
    return {name: str(value) for name, value in stack.value(variables, references).items()}


def receiver_timeout() -> int:
    """Return the receiver's time-out in seconds."""
    return int(RECEIVER.untransformed().properties("ReceiverFunction")["Timeout"])


def receiver_memory() -> int:
    """Return the receiver's memory in MB, at default parameters."""
    stack = RECEIVER.untransformed()
    return int(stack.value(stack.properties("ReceiverFunction")["MemorySize"]))


def deduplication_hours() -> int:
    """Return for how many hours the receiver remembers a delivery, at default parameters."""
    return int(RECEIVER.read()["Parameters"]["DeduplicationHours"]["Default"])
