"""`openai-webhooks status`: how a deployed stack is doing, in a few lines."""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, NamedTuple

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.text import Text

from openai_webhooks_cli.aws.activity import (
    BLOCKING,
    NOTED,
    OUTCOMES,
    delivery_text,
    outcomes_text,
    read_alarms,
    read_counts,
    read_deliveries,
    require_measured,
)
from openai_webhooks_cli.aws.archive import read_archive
from openai_webhooks_cli.aws.dead_letters import read_queues
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.commands.open_stack import open_stack
from openai_webhooks_cli.shell import options
from openai_webhooks_cli.shell.background import start
from openai_webhooks_cli.shell.command import FAILED, command
from openai_webhooks_cli.shell.errors import CannotRun, explain
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.times import iso_time

app = typer.Typer()


class Row(NamedTuple):
    """A line of the status, for people and for programs."""

    text: str
    data: Any
    style: str = ""


@command(app, "status")
def status(
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Show the last delivery, the counts of 24 hours, dead letters and alarms.

    The exit status is 1 if the last delivery failed, an alarm fires, or a line
    could not be read. To find problems, and the commands that fix them, run
    `openai-webhooks doctor`.
    """
    output = Output(as_json=as_json)
    found = open_stack(output, stack, profile, region, endpoint_url)
    with output.progress("Reading the status"):
        running = {name: start(partial(_row, read, found)) for name, read in _ROWS.items()}
        rows = {name: row.result() for name, row in running.items()}
    lines = [Text.assemble(f"{name:<14}  ", (row.text, row.style)) for name, row in rows.items()]
    data = {name.replace(" ", "_"): row.data for name, row in rows.items()}
    output.item(Text("\n").join(lines), type="status", at=iso_time(time.time()), **data)
    if any(row.style == "red" for row in rows.values()):
        raise typer.Exit(FAILED)


def _row(read: Callable[[Stack], Row], stack: Stack) -> Row:
    try:
        return read(stack)
    except CannotRun as error:
        return Row(str(error), {"error": str(error)}, "dim")
    except (BotoCoreError, ClientError) as error:
        return Row(explain(error), {"error": explain(error)}, "red")


def _stack(stack: Stack) -> Row:
    return Row(stack.status, stack.status, "" if stack.status.endswith("_COMPLETE") else "yellow")


def _last_delivery(stack: Stack) -> Row:
    line = next(reversed(read_deliveries(stack)), None)
    require_measured(stack, line)
    failed = line and line.fields["outcome"] in BLOCKING
    fields = ("event_type", "outcome", "reason", "webhook_id", "duration_ms")
    data = line and {"at": iso_time(line.time), **{field: line.fields.get(field) for field in fields}}
    return Row(delivery_text(line, stack.now()), data, "red" if failed else "")


def _counts(stack: Stack) -> Row:
    counts = read_counts(stack)
    totals = {name: counts.total(name) for name in (*OUTCOMES, *NOTED)}
    require_measured(stack, any(totals.values()))
    return Row(outcomes_text(counts), totals)


def _dead_letters(stack: Stack) -> Row:
    depths = {queue.name: queue.depth for queue in read_queues(stack)}
    waiting = [f"{depth} in {name}" for name, depth in depths.items() if depth]
    return Row(", ".join(waiting) or f"none in {len(depths)} queues", depths, "yellow" if waiting else "")


def _alarms(stack: Stack) -> Row:
    states = {alarm.logical_id: alarm.state for alarm in read_alarms(stack)}
    # An alarm has too little data if nothing happened.
    others = [f"{name}: {state}" for name, state in states.items() if state in ("ALARM", "MISSING")]
    text = ", ".join(others) or (f"none of {len(states)} fires" if states else "none")
    return Row(text, states, "red" if "ALARM" in states.values() else "")


def _archive(stack: Stack) -> Row:
    archive = read_archive(stack)
    if not archive:
        return Row("none", None)
    return Row(f"{archive.state}, {archive.retention_days} d", archive._asdict())


_ROWS: Final[Mapping[str, Callable[[Stack], Row]]] = {
    "stack": _stack,
    "last delivery": _last_delivery,
    "last 24 hours": _counts,
    "dead letters": _dead_letters,
    "alarms": _alarms,
    "archive": _archive,
}
