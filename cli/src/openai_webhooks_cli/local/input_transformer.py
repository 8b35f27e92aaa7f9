"""What a rule passes to a target: the event, or what `Input`, `InputPath` or `InputTransformer` make of it.

Source: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-transform-target-input.html
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

_STEP: Final = re.compile(r"\.([\w/-]+|\*)|\[(\d+|\*)\]")
_PATH: Final = re.compile(rf"\$(?:{_STEP.pattern})*")
_PLACEHOLDER: Final = re.compile(r'\\.|"|<([\w.-]+)>', re.DOTALL)


class InvalidInput(Exception):
    """EventBridge cannot make the input of a target. The text says why."""


def target_input(
    target: Mapping[str, Any], event: Mapping[str, Any], *, rule_name: str, rule_arn: str, ingestion_time: str
) -> str:
    """Return what the target gets, which is JSON unless a template makes something else. Raises InvalidInput.

    `target` is an item of PutTargets.
    """
    if "Input" in target:
        return str(target["Input"])
    if "InputPath" in target:
        found = _values_at(target["InputPath"], event)
        if not found:
            raise InvalidInput(f"the event has no {target['InputPath']}")
        return _json(found[0])
    if "InputTransformer" not in target:
        return _json(event)
    transformer = target["InputTransformer"]
    paths = transformer.get("InputPathsMap", {})
    variables: dict[str, list[Any]] = {
        **{name: _values_at(path, event) for name, path in paths.items()},
        "aws.events.rule-arn": [rule_arn],
        "aws.events.rule-name": [rule_name],
        "aws.events.event.ingestion-time": [ingestion_time],
        "aws.events.event": [{name: value for name, value in event.items() if name != "detail"}],
        "aws.events.event.json": [event],
    }
    return _filled(transformer["InputTemplate"], variables)


def _values_at(path: str, event: Mapping[str, Any]) -> list[Any]:
    """Return the value at a path as a list of one, or an empty list. A path with `*` has a list as its value."""
    if not _PATH.fullmatch(path):
        raise InvalidInput(f"EventBridge reads only paths such as $.detail.data.id, not {path}")
    values: list[Any] = [event]
    for name, index in _STEP.findall(path):
        if "*" in (name, index):
            nodes = [node for node in values if isinstance(node, dict | list)]
            values = [child for node in nodes for child in (node.values() if isinstance(node, dict) else node)]
        elif name:
            values = [node[name] for node in values if isinstance(node, dict) and name in node]
        else:
            values = [node[int(index)] for node in values if isinstance(node, list) and int(index) < len(node)]
    return [values] if "*" in path else values


def _filled(template: str, variables: Mapping[str, list[Any]]) -> str:
    """Return the template with the values of its variables.

    Outside of quotes, a value is JSON. Inside, it is plain, without the quotes that it contains. EventBridge does not
    escape it. A variable without a value disappears.
    """
    quoted = False

    def value(match: re.Match[str]) -> str:
        nonlocal quoted
        name = match[1]
        if name not in variables:
            quoted ^= match[0] == '"'
            return match[0]
        if not variables[name]:
            return ""
        [found] = variables[name]
        if not quoted:
            return _json(found)
        return found if isinstance(found, str) else _json(found).replace('"', "")

    return _PLACEHOLDER.sub(value, template)


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
