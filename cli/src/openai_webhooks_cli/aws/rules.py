"""The rules on the stack's bus, which events they match, and their targets."""

import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.event_pattern import EventPattern, InvalidPattern
from openai_webhooks_cli.shell.errors import CannotRun
from openai_webhooks_cli.shell.next_command import aws, openai_webhooks
from openai_webhooks_cli.shell.printable import printable

_THREADS = 4  # EventBridge allows 50 calls a second


class Target(NamedTuple):
    """Where a rule sends events."""

    arn: str
    dead_letter_arn: str | None
    transforms: bool = False
    """Whether the rule sends something else than the event: a part of it, or a text."""

    @property
    def accepts_events(self) -> bool:
        """Whether `send` can send events to it: it is a function or a standard queue."""
        return is_function(self.arn) or is_standard_queue(self.arn)


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


def require_rule(stack: Stack, rules: Sequence[Rule], name: str) -> Rule:
    """Return the rule with a name. Raises CannotRun if there is none."""
    for rule in rules:
        if rule.name == name:
            return rule
    raise CannotRun(f"The bus {stack.bus} has no rule {printable(name)}. To list them: {openai_webhooks('rules')}")


def enable_command(stack: Stack, rule: str) -> str:
    """Return the command that enables a rule."""
    return aws("events", "enable-rule", "--name", rule, "--event-bus-name", stack.bus, region=stack.region)


def is_function(arn: str) -> bool:
    """Return whether an ARN is that of a Lambda function."""
    return arn.split(":")[2] == "lambda"


def is_standard_queue(arn: str) -> bool:
    """Return whether an ARN is that of an SQS queue that is not FIFO."""
    return arn.split(":")[2] == "sqs" and not arn.endswith(".fifo")


def short_name(arn: str) -> str:
    """Return the part of an ARN that a person knows: a function with its alias, or the name of a queue."""
    return arn.partition(":function:")[2] or arn.rpartition(":")[2]


def send(stack: Stack, target: Target, payload: str) -> bool:
    """Send an event to a target that accepts events. Return whether it was accepted.

    A function is invoked asynchronously, so that it has its own retries and dead-letter queue.
    """
    if is_function(target.arn):
        client = stack.client("lambda")
        answer = client.invoke(FunctionName=target.arn, InvocationType="Event", Payload=payload.encode())
        return bool(answer["StatusCode"] == 202)
    sqs, (owner, name) = stack.client("sqs"), target.arn.split(":")[4:]
    url = sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=owner)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=payload)
    return True


def type_patterns(types: Sequence[str]) -> list[Any]:
    """Return types, such as `batch.completed` or `*.failed`, in the form of an event pattern. Raises CannotRun."""
    for event_type in types:
        if not re.fullmatch(r"[\w.*-]{1,128}", event_type, re.ASCII) or "**" in event_type:
            raise CannotRun(f"{printable(event_type)} is not an event type. Write batch.completed or 'batch.*'.")
    return [{"wildcard": name} if "*" in name else name for name in types]


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


def mismatch(rule: Rule, event: Mapping[str, Any]) -> str:
    """Return why a rule does not match an event, for people who see the event anyway.

    EventBridge does not say why, so this is our own comparison.
    """
    try:
        found = EventPattern(rule.pattern).mismatch(event)
    except InvalidPattern:
        found = None
    return found.text(with_payload=True) if found else "EventBridge does not say why"


def handled_types(stack: Stack, types: Iterable[str]) -> list[str]:
    """Return the types whose samples an enabled rule matches."""
    enabled = [rule for rule in read_rules(stack) if rule.enabled and rule.targets]
    return [event_type for event_type, matching in match_types(stack, enabled, types).items() if matching]


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
    return "ManagedBy" in rule or rule["Name"] == arrival_rule(stack) or is_session
