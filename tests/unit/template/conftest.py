"""Both templates as CloudFormation gets them, after SAM's own transform, at any parameters.

Test modules take types from here, for annotations only; everything else comes through fixtures.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from samtranslator.yaml_helper import yaml_parse

from webhooks.stacks import translate

ROOT: Final = Path(__file__).parents[3]


@dataclass(frozen=True)
class Stack:
    """A template at certain parameters."""

    template: dict[str, Any]
    """Plain CloudFormation. The parameters' defaults are their values."""

    @property
    def resources(self) -> dict[str, dict[str, Any]]:
        """All that are declared, under whatever condition."""
        resources: dict[str, dict[str, Any]] = self.template["Resources"]
        return resources

    @property
    def json(self) -> str:
        return json.dumps(self.template, indent=1)

    @property
    def created(self) -> dict[str, str]:
        """The types of those that CloudFormation would create, by logical id."""
        return {
            name: resource["Type"].removeprefix("AWS::")
            for name, resource in self.resources.items()
            if self.holds({"Condition": resource["Condition"]} if "Condition" in resource else "true")
        }

    def holds(self, condition: Any) -> bool:
        return bool(self._value(condition) == "true")

    def _value(self, node: Any) -> Any:
        if not isinstance(node, dict):
            return [self._value(item) for item in node] if isinstance(node, list) else str(node)
        [(function, argument)] = node.items()
        if function == "Ref":
            parameter = self.template["Parameters"][argument]
            default = str(parameter["Default"])
            return default.split(",") if parameter["Type"] == "CommaDelimitedList" else default
        if function == "Condition":
            return self._value(self.template["Conditions"][argument])
        return FUNCTIONS[function](self._value(argument))


def _boolean(*, holds: bool) -> str:
    return "true" if holds else "false"


FUNCTIONS: Final[dict[str, Callable[[Any], str]]] = {
    "Fn::And": lambda values: _boolean(holds=set(values) == {"true"}),
    "Fn::Equals": lambda values: _boolean(holds=values[0] == values[1]),
    "Fn::Join": lambda values: str(values[0].join(values[1])),
    "Fn::Not": lambda values: _boolean(holds=values == ["false"]),
}


@dataclass(frozen=True)
class Source:
    """A SAM template."""

    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text()

    def read(self) -> dict[str, Any]:
        source: dict[str, Any] = yaml_parse(self.text)
        return source

    def at(self, **parameters: str) -> Stack:
        return Stack(json.loads(json.dumps(translate(self.path, **parameters))))


@pytest.fixture(scope="session")
def sources() -> dict[str, Source]:
    return {
        "receiver": Source(ROOT / "template.yaml"),
        "subscriber": Source(ROOT / "examples/subscriber/template.yaml"),
    }


@pytest.fixture(scope="session")
def receiver(sources: dict[str, Source]) -> Source:
    return sources["receiver"]


@pytest.fixture(scope="session")
def stacks(sources: dict[str, Source]) -> dict[str, Stack]:
    """Both at their defaults."""
    return {name: source.at() for name, source in sources.items()}
