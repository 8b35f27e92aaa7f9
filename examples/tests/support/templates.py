"""The examples' templates, and the facts that tests read from them."""

import json
from collections.abc import Mapping
from typing import Any, Final

from moto.events.models import EventPattern

from tests.support.paths import ROOT
from tests.support.templates import Source, Stack

EXAMPLES: Final = {path.parent.name: Source(path) for path in sorted(ROOT.glob("examples/*/template.yaml"))}
"""By the names of their folders."""
SUBSCRIBER: Final = EXAMPLES["subscriber"]


def event_rules(stack: Stack) -> dict[str, dict[str, Any]]:
    """Return the rules that match events. The others are schedules."""
    return {name: rule for name, rule in stack.of("Events::Rule").items() if "ScheduleExpression" not in rule}


def reached(
    stack: Stack, event_type: str, *, source: str = "openai.com", detail: Mapping[str, Any] | None = None
) -> set[str]:
    """Return the functions that the rules pass an event to."""
    event: Any = {"source": source, "detail-type": event_type, "detail": {"type": event_type} | dict(detail or {})}
    return {
        target["Arn"]["Fn::GetAtt"][0]
        for rule in event_rules(stack).values()
        if EventPattern.load(json.dumps(stack.value(rule["EventPattern"]))).matches_event(event)
        for target in rule["Targets"]
    }


def permissions(stack: Stack, holder: str) -> dict[str, Any]:
    """Return the actions of a function or a workflow, and their resources, except for its dead-letter queue."""
    role = f"{holder}Role"
    policies = stack.properties(role).get("Policies", []) + [
        policy for policy in stack.of("IAM::Policy").values() if policy["Roles"] == [{"Ref": role}]
    ]
    return {
        action: statement["Resource"]
        for policy in policies
        for statement in policy["PolicyDocument"]["Statement"]
        for action in as_list(statement["Action"])
        if action != "sqs:SendMessage"
    }


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
