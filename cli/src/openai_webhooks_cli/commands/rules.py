"""`openai-webhooks rules`: which rules on the bus match which event types."""

import json
import textwrap
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from openai_webhooks import CATALOG
from openai_webhooks_cli.aws.rules import Rule, envelope, match, match_types, mismatch, read_rules
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.commands.open_stack import open_stack
from openai_webhooks_cli.openai_platform.endpoints import connect, of_url
from openai_webhooks_cli.shell import options
from openai_webhooks_cli.shell.command import command
from openai_webhooks_cli.shell.errors import CannotRun, Failed
from openai_webhooks_cli.shell.next_command import without_stack
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.printable import printable

app = typer.Typer()


@command(app, "rules")
def rules(
    event: Annotated[
        typer.FileText | None,
        typer.Option(
            encoding="utf-8",
            metavar="FILE",
            help="Show the rules that match this event: as OpenAI sends it, as the bus passes it, or from events/.",
        ),
    ] = None,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Show which rules on the bus match which event types.

    EventBridge compares the rules with sample events. No event is sent. With
    --event, you see why each of the other rules does not match, and the exit
    status is 1 if no enabled rule matches.
    """
    output = Output(as_json=as_json)
    given = _read_event(event) if event else None
    found = open_stack(output, stack, profile, region, endpoint_url)
    with output.progress("Comparing the rules with events"):
        on_bus = read_rules(found)
        if given:
            passed = envelope(found, {"type": "", **given}) | (given if "detail" in given else {})
            [row] = match(found, on_bus, [passed])
            matched = {str(passed["detail-type"]): [rule for rule, matches in zip(on_bus, row, strict=True) if matches]}
        else:
            matched = match_types(found, on_bus, _known_types(found))
    _print(output, matched)
    if given:
        _print_reasons(output, [rule for rule, matches in zip(on_bus, row, strict=True) if not matches], passed)
    if given and not any(rule.enabled for matching in matched.values() for rule in matching):
        raise Failed("No enabled rule matches the event, so it reaches no subscriber.")
    if not given:
        _print_unused(output, on_bus, matched)


def _print(output: Output, matched: Mapping[str, Sequence[Rule]]) -> None:
    types_of: dict[tuple[Rule, ...], list[str]] = {}
    for event_type, matching in matched.items():
        types_of.setdefault(tuple(matching), []).append(event_type)
        names = [rule.name for rule in matching if rule.enabled]
        disabled = [rule.name for rule in matching if not rule.enabled]
        output.record(type="match", event_type=event_type, rules=names, disabled_rules=disabled)
    for matching, types in types_of.items():
        handled = any(rule.enabled for rule in matching)
        text = textwrap.fill(printable(", ".join(types), 10_000), 80, break_on_hyphens=False, break_long_words=False)
        output.line(text, None if handled else "yellow")
        for rule in matching:
            output.line(f"    -> {rule.name}{'' if rule.enabled else ' (disabled)'}")
        if not matching:
            output.line("    -> no rule", "yellow")


def _print_reasons(output: Output, others: Sequence[Rule], event: Mapping[str, Any]) -> None:
    for rule in others:
        reason = printable(mismatch(rule, event), 500)
        output.item(f"{rule.name} does not match: {reason}", type="mismatch", rule=rule.name, reason=reason)


def _print_unused(output: Output, on_bus: Sequence[Rule], matched: Mapping[str, Sequence[Rule]]) -> None:
    used = {rule.name for matching in matched.values() for rule in matching}
    for rule in on_bus:
        if rule.name not in used:
            output.item(f"No sample matches the rule {rule.name}.", "yellow", type="unused", rule=rule.name)


def _known_types(stack: Stack) -> list[str]:
    """Return the types of the catalog, and those that the stack's endpoint registers."""
    try:
        endpoints = of_url(connect().endpoints(), stack.outputs["WebhookUrl"])
    except CannotRun:
        endpoints = []
    return list(dict.fromkeys([*CATALOG, *(name for endpoint in endpoints for name in endpoint.event_types)]))


def _read_event(file: typer.FileText) -> dict[str, Any]:
    """Return an event of OpenAI or of the bus. Raises CannotRun."""
    try:
        event = json.loads(file.read())
        if isinstance(event, dict) and "isBase64Encoded" in event:  # an event of API Gateway
            event = json.loads(b64decode(event["body"]) if event["isBase64Encoded"] else event["body"])
    except (ValueError, TypeError, KeyError, RecursionError):
        event = None
    if isinstance(event, dict) and isinstance(event.get("detail-type" if "detail" in event else "type"), str):
        return event
    raise CannotRun(
        f"{printable(file.name)} has no event. It must contain an event as OpenAI sends it, as the bus passes it "
        "(detail-type and detail), or as API Gateway passes it. "
        f"For a sample: {without_stack('events', 'batch.completed')}"
    )
