"""`openai-webhooks dead-letters`: the events that subscribers could not handle, and how to send them again."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer
from botocore.exceptions import ClientError

from openai_webhooks_cli.aws.dead_letters import DeadLetter, DeadLetterQueue, Reader, oldest_ages, read_queues
from openai_webhooks_cli.aws.rules import Rule, read_rules, require_rule, send, short_name
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.commands.open_stack import open_stack
from openai_webhooks_cli.shell import options
from openai_webhooks_cli.shell.command import command
from openai_webhooks_cli.shell.errors import Failed, explain, is_denied, is_expired
from openai_webhooks_cli.shell.next_command import openai_webhooks
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.printable import printable
from openai_webhooks_cli.shell.stop import Stop
from openai_webhooks_cli.shell.times import age, local_time

app = typer.Typer(
    name="dead-letters",
    no_args_is_help=True,
    help="List, show and redrive the events that subscribers could not handle.",
)

_STYLES = {"redriven": "green", "planned": None, "failed": "red", "left": "yellow"}

RuleName = Annotated[
    str | None, typer.Option("--rule", metavar="RULE", help="Only dead letters of this rule on the bus.")
]


@command(app, "list")
def list_queues(
    rule: RuleName = None,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """List the dead-letter queues of the rules on the bus, and of the functions that the rules invoke."""
    output = Output(as_json=as_json)
    found = open_stack(output, stack, profile, region, endpoint_url)
    _, queues = _read_queues(found, output, rule)
    ages = oldest_ages(found, queues)
    for queue in queues:
        seconds = ages.get(queue.arn)
        oldest = f", the oldest {age(seconds)} old" if seconds is not None else ""
        depth = "not readable" if queue.depth is None else _count(queue.depth) + oldest
        users = ", ".join([*queue.rules, *map(short_name, queue.functions)])
        style = "yellow" if queue.depth else None
        output.item(f"{queue.name}  {depth}  {users}", style, type="queue", **queue._asdict(), oldest_seconds=seconds)
    if not queues:
        output.line("No rule on the bus has a dead-letter queue. No function of a rule has one.")


@command(app, "show")
def show(
    rule: RuleName = None,
    maximum: Annotated[int, typer.Option("--max", min=1, help="Number of dead letters to show.")] = 100,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Show the dead letters, and why their events failed. They stay in their queues."""
    output = Output(as_json=as_json)
    found = open_stack(output, stack, profile, region, endpoint_url)
    rules, queues = _read_queues(found, output, rule)
    dead_letters = []
    with (
        output.progress("Reading the dead letters"),
        Stop(output.warning) as stop,
        Reader(found, queues, rules, stop) as reader,
    ):
        for dead_letter in islice(reader.dead_letters(rule), maximum):
            stop.check()
            dead_letters.append(dead_letter)
    for dead_letter in dead_letters:
        sent_at = local_time(datetime.fromtimestamp(dead_letter.sent_at, UTC))
        output.line(f"{dead_letter.title}  {sent_at}  {printable(dead_letter.origin)}")
        output.item(f"    {printable(dead_letter.error)}", "red", type="letter", **dead_letter.fields)
    output.note(f"Shown: {len(dead_letters)}. In the queues: {_depth(queues)}.")


@command(app, "redrive")
def redrive(
    rule: RuleName = None,
    maximum: Annotated[int | None, typer.Option("--max", min=1, help="Number of dead letters to redrive.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be sent, and where.")] = False,
    yes: options.Yes = False,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Send the events to their functions again. A dead letter is deleted only after its event was accepted.

    Fix the cause first: an event that fails again becomes a new dead letter.
    Functions with handle_once skip events that they already handled.
    """
    output = Output(as_json=as_json)
    found = open_stack(output, stack, profile, region, endpoint_url)
    rules, queues = _read_queues(found, output, rule)
    for queue in queues:
        if queue.depth:
            users = ", ".join(map(short_name, queue.functions)) or "the targets of its rules"
            output.note(f"{queue.name}: {_count(queue.depth)} -> {users}")
    # The limit also ends a run in which every event fails again, and comes back as a new dead letter.
    limit = min(_depth(queues), maximum or _depth(queues))
    if limit and not dry_run and not output.confirm(f"Redrive up to {_count(limit)}?", yes=yes):
        return
    counts = Counter({"planned": 0} if dry_run else {"redriven": 0, "failed": 0})
    counts["left"] = 0
    try:
        with (
            Stop(output.warning) as stop,
            Reader(found, queues, rules, stop) as reader,
            stop.unfinished(lambda: reader.hidden),
        ):
            for dead_letter in reader.dead_letters(rule):
                stop.check()
                if counts.total() - counts["left"] == limit:
                    break
                result, reason = _redrive(found, dead_letter, reader, dry_run=dry_run)
                counts[result] += 1
                targets = ", ".join(short_name(target.arn) for target in dead_letter.targets)
                text = f"{result:<8}  {dead_letter.title}  {printable(reason or f'-> {targets}')}"
                record = {"type": "letter", "result": result, "reason": reason, **dead_letter.fields}
                output.item(text, _STYLES[result], **record)
    finally:
        output.record(type="summary", **counts)
        output.note(", ".join(f"{result}: {count}" for result, count in counts.items()))
    if stay := counts["failed"] + counts["left"]:
        raise Failed(f"{_count(stay)} stay in their queues. To see why: {openai_webhooks('dead-letters', 'show')}")


def _redrive(stack: Stack, dead_letter: DeadLetter, reader: Reader, *, dry_run: bool) -> tuple[str, str]:
    """Send the event, and delete its dead letter if the event was accepted. Return the result, and why it is so."""
    if obstacle := _obstacle(dead_letter):
        return "left", obstacle
    if dry_run:
        return "planned", ""
    if refusal := _send(stack, dead_letter):
        return "failed", refusal
    reader.delete(dead_letter)
    return "redriven", ""


def _obstacle(dead_letter: DeadLetter) -> str:
    """Return why the dead letter has to stay in its queue, or an empty text."""
    if dead_letter.form == "unknown":
        return dead_letter.error
    if not dead_letter.targets:
        return f"No target of a rule on the bus fits {dead_letter.origin}."
    replay = openai_webhooks("replay", "--since", "TIME", "--until", "TIME", "--to", "RULE")
    if dead_letter.form == "eventbridge" and any(target.transforms for target in dead_letter.targets):
        return f"The rule transforms events before it sends them. Replay the event: {replay}"
    if not all(target.accepts_events for target in dead_letter.targets):
        return f"A target is neither a function nor a standard queue. Replay the event: {replay}"
    return ""


def _send(stack: Stack, dead_letter: DeadLetter) -> str:
    """Send the event. Return why it was not accepted, or an empty text. Raises errors that concern all dead letters."""
    try:
        refused = [target.arn for target in dead_letter.targets if not send(stack, target, dead_letter.payload)]
    except ClientError as error:
        if is_denied(error) or is_expired(error):
            raise
        return explain(error)
    return f"Not accepted by {', '.join(refused)}" if refused else ""


def _read_queues(stack: Stack, output: Output, rule: str | None) -> tuple[list[Rule], list[DeadLetterQueue]]:
    """Return all rules, and the dead-letter queues of one rule or of all."""
    with output.progress("Reading the rules and their dead-letter queues"):
        rules = read_rules(stack)
        if rule:
            require_rule(stack, rules, rule)
        queues = [queue for queue in read_queues(stack, rules) if rule in (None, *queue.rules)]
    for queue in queues:
        if queue.error:
            output.warning(f"The queue {queue.arn} cannot be read ({queue.error}). Rules: {', '.join(queue.rules)}")
    return rules, queues


def _depth(queues: Sequence[DeadLetterQueue]) -> int:
    return sum(queue.depth or 0 for queue in queues)


def _count(dead_letters: int) -> str:
    return f"{dead_letters} dead letter{'' if dead_letters == 1 else 's'}"
