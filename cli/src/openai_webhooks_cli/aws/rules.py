"""The rules on the stack's bus, and which events they match."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.stack import Stack

_THREADS = 4  # EventBridge allows 50 calls a second


class Target(NamedTuple):
    """Where a rule sends events."""

    arn: str
    dead_letter_arn: str | None
    transforms: bool = False
    """Whether the rule sends something else than the event: a part of it, or a text."""


class Rule(NamedTuple):
    """A rule of a subscriber."""

    name: str
    arn: str
    pattern: str
    """JSON."""
    enabled: bool
    targets: tuple[Target, ...]


def read_rules(stack: Stack) -> list[Rule]:
    """Return the subscribers' rules on the bus, by name.

    The rules of the archive, of the arrival log and of the commands' own sessions are not among them.
    """
    events = stack.client("events")
    found = [
        rule
        for page in events.get_paginator("list_rules").paginate(EventBusName=stack.bus)
        for rule in page["Rules"]
        if "EventPattern" in rule and not _is_internal(stack, rule)
    ]
    with ThreadPoolExecutor(_THREADS) as threads:
        targets = list(threads.map(lambda rule: _targets(stack, rule["Name"]), found))
    rules = (
        Rule(rule["Name"], rule["Arn"], rule["EventPattern"], rule["State"].startswith("ENABLED"), targets)
        for rule, targets in zip(found, targets, strict=True)
    )
    return sorted(rules, key=lambda rule: rule.name)


def envelope(stack: Stack, event: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event of OpenAI in the form in which the bus passes it to targets."""
    return {
        "version": "0",
        "id": "00000000-0000-0000-0000-000000000000",
        "detail-type": event["type"],
        "source": stack.event_source,
        "account": stack.account,
        "time": "2026-01-01T00:00:00Z",
        "region": stack.region,
        "resources": [],
        "detail": event,
    }


def match(stack: Stack, rules: Sequence[Rule], envelopes: Iterable[Mapping[str, Any]]) -> list[list[bool]]:
    """Return whether each rule matches each event: a row for each event, a column for each rule.

    EventBridge decides (TestEventPattern). The events are not sent anywhere.
    """
    client = stack.client("events")

    def test(pair: tuple[Mapping[str, Any], Rule]) -> bool:
        event, rule = pair
        if _excludes(json.loads(rule.pattern), event):
            return False
        return bool(client.test_event_pattern(EventPattern=rule.pattern, Event=json.dumps(event))["Result"])

    events = list(envelopes)
    with ThreadPoolExecutor(_THREADS) as threads:
        results = list(threads.map(test, [(event, rule) for event in events for rule in rules]))
    columns = len(rules)
    return [results[row * columns : (row + 1) * columns] for row in range(len(events))]


def match_types(stack: Stack, rules: Sequence[Rule], types: Iterable[str]) -> dict[str, list[Rule]]:
    """Return the rules that match a sample of each type, by type. Disabled rules are among them."""
    types = list(types)
    now = int(time.time())
    rows = match(stack, rules, [envelope(stack, samples.sample(event_type, created_at=now)) for event_type in types])
    return {
        event_type: [rule for rule, matches in zip(rules, row, strict=True) if matches]
        for event_type, row in zip(types, rows, strict=True)
    }


def arrival_rule(stack: Stack) -> str:
    """Return the name of the rule that feeds the arrival log."""
    # CloudFormation's id of a rule is `BUS|NAME`, or `BUS/NAME` in some emulators.
    return (stack.physical_id("ArrivalRule") or "").rpartition("|")[2].rpartition("/")[2]


def _targets(stack: Stack, rule: str) -> tuple[Target, ...]:
    answer = stack.client("events").list_targets_by_rule(Rule=rule, EventBusName=stack.bus)
    return tuple(
        Target(
            target["Arn"],
            target.get("DeadLetterConfig", {}).get("Arn"),
            transforms=not target.keys().isdisjoint({"Input", "InputPath", "InputTransformer"}),
        )
        for target in answer["Targets"]
    )


def _excludes(pattern: Mapping[str, Any], event: Mapping[str, Any]) -> bool:
    """Return whether a list of plain texts at the pattern's top excludes an event. This saves most calls."""
    return any(
        isinstance(allowed := pattern.get(field), list)
        and all(isinstance(value, str) for value in allowed)
        and event[field] not in allowed
        for field in ("source", "detail-type")
    )


def _is_internal(stack: Stack, rule: Mapping[str, Any]) -> bool:
    is_session = "-listen-" in rule["Name"] and '"openai-webhooks.listen"' in rule["EventPattern"]
    # `openai-webhooks dev` watches its own bus with this rule.
    is_of_dev = bool(stack.session.endpoint_url) and rule["Name"] == "Everything"
    return "ManagedBy" in rule or rule["Name"] == arrival_rule(stack) or is_session or is_of_dev
