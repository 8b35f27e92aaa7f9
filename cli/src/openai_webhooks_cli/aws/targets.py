"""Whether EventBridge can pass events to the targets of rules, and to their dead-letter queues."""

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from openai_webhooks_cli.aws.rules import Rule, is_function, short_name
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.shell.errors import if_found
from openai_webhooks_cli.shell.next_command import aws

EVENTBRIDGE = "events.amazonaws.com"


class Problem(NamedTuple):
    """What keeps events from a target or its dead-letter queue."""

    text: str
    fix: str
    """The command that repairs it, or shows more of it."""
    loses_events: bool = True
    """False if only the dead-letter queue does not get them."""


def problems(stack: Stack, rule: Rule) -> Iterator[Problem]:
    """Yield what keeps the rule's events from its targets and their dead-letter queues.

    Targets of other accounts, and those that are neither functions nor queues, are not checked.
    """
    place = ("--rule", rule.name, "--event-bus-name", stack.bus)
    show = aws("events", "list-targets-by-rule", *place, region=stack.region)
    if not rule.targets:
        yield Problem(f"{rule.name} has no target, so its events reach nobody.", show)
    for target in rule.targets:
        if is_function(target.arn):
            yield from _function(stack, rule, target.arn, show)
        if ":sqs:" in target.arn:
            yield from _queue(stack, rule, target.arn, show)
        if target.dead_letter_arn:
            for problem in _queue(stack, rule, target.dead_letter_arn, show):
                yield problem._replace(loses_events=False)


def _function(stack: Stack, rule: Rule, arn: str, show: str) -> Iterator[Problem]:
    if not _is_own(stack, arn):
        return
    client = stack.client("lambda")
    answer = if_found(lambda: client.get_policy(FunctionName=arn))
    if answer and _lets_in(answer["Policy"], rule.arn):
        return
    if if_found(lambda: client.get_function_configuration(FunctionName=arn)) is None:
        yield Problem(f"{rule.name}: the function {short_name(arn)} does not exist.", show)
        return
    allow = ("--action", "lambda:InvokeFunction", "--principal", EVENTBRIDGE, "--source-arn", rule.arn)
    statement = ("--statement-id", f"allow-{rule.name}"[:100])
    fix = aws("lambda", "add-permission", "--function-name", arn, *statement, *allow, region=stack.region)
    yield Problem(f"{rule.name}: EventBridge may not invoke {short_name(arn)}.", fix)


def _queue(stack: Stack, rule: Rule, arn: str, show: str) -> Iterator[Problem]:
    if not _is_own(stack, arn):
        return
    client, name = stack.client("sqs"), arn.rpartition(":")[2]
    found = if_found(lambda: client.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=stack.account))
    if found is None:
        yield Problem(f"{rule.name}: the queue {name} does not exist.", show)
        return
    url = found["QueueUrl"]
    policy = client.get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"]).get("Attributes", {}).get("Policy")
    if not _lets_in(policy, rule.arn):
        read = ("get-queue-attributes", "--queue-url", url, "--attribute-names", "Policy")
        fix = aws("sqs", *read, region=stack.region)
        yield Problem(f"{rule.name}: the policy of {name} keeps EventBridge out.", fix)


def _is_own(stack: Stack, arn: str) -> bool:
    return arn.split(":")[4] == stack.account


def _lets_in(policy: str | None, rule_arn: str) -> bool:
    """Return whether a resource's policy lets EventBridge use it for a rule. Only aws:SourceArn is compared."""
    statements = _list(json.loads(policy or "{}").get("Statement", []))
    return any(
        statement["Effect"] == "Allow"
        and _names_eventbridge(statement.get("Principal"))
        and all(
            any(fnmatchcase(rule_arn, arn) for arn in arns) for arns in _source_arns(statement.get("Condition", {}))
        )
        for statement in statements
    )


def _names_eventbridge(principal: Any) -> bool:
    if isinstance(principal, dict):
        return EVENTBRIDGE in _list(principal.get("Service", [])) or "*" in _list(principal.get("AWS", []))
    return bool(principal == "*")


def _source_arns(condition: Mapping[str, Mapping[str, Any]]) -> Iterator[list[str]]:
    for keys in condition.values():
        for key, arns in keys.items():
            if key.lower() == "aws:sourcearn":
                yield _list(arns)


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
