"""`openai-webhooks status`: how a deployed stack is doing, in a few lines."""

import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from typing import Annotated, Any, Final, NamedTuple

import typer
from botocore.exceptions import BotoCoreError, ClientError
from rich.live import Live
from rich.text import Text

from openai_webhooks_cli.aws.activity import (
    NOTED,
    OUTCOMES,
    delivery_text,
    outcomes_text,
    read_alarms,
    read_counts,
    read_last_delivery,
    start,
)
from openai_webhooks_cli.aws.archive import read_archive
from openai_webhooks_cli.aws.dead_letters import read_queues
from openai_webhooks_cli.aws.stack import Stack, read_stack
from openai_webhooks_cli.commands.event_text import clock, iso_time
from openai_webhooks_cli.shell.command import Selection, command
from openai_webhooks_cli.shell.errors import explain
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.stop import Stop

_INTERVAL = 5  # seconds
_COUNTS_INTERVAL = 60  # seconds; CloudWatch charges for each reading, and has new values once a minute


class Row(NamedTuple):
    """A line of the status, for people and for programs."""

    text: str
    data: Any
    style: str = ""


@command("status")
def status(
    output: Output,
    selection: Selection,
    watch: Annotated[bool, typer.Option("--watch", help="Refresh every 5 seconds, until Ctrl-C.")] = False,
) -> None:
    """Show the last delivery, the counts of 24 hours, dead letters and alarms.

    To find problems, and the commands that fix them, run `openai-webhooks doctor`.
    """
    found = selection.find(output)
    if watch:
        _watch(found, output)
    else:
        with output.progress("Reading the status"):
            rows = _read(found, {})
        _print(output, rows)


def _watch(stack: Stack, output: Output) -> None:
    known: dict[str, Row] = {}
    counted_at = float("-inf")
    with Stop() as stop, Live(auto_refresh=False) if output.is_terminal else nullcontext() as live:
        while True:
            if time.monotonic() - counted_at > _COUNTS_INTERVAL:
                known, counted_at = {}, time.monotonic()
            # In a thread, so that Ctrl-C does not wait for AWS.
            refresh = start(partial(_read_again, stack, known))
            while not refresh.done():
                stop.wait(0.05)
            try:
                rows = refresh.result()
            except (BotoCoreError, ClientError) as error:
                output.warning(explain(error, "status"))
                stack.session.renew()
            else:
                known = {"last 24 hours": rows["last 24 hours"]}
                if live:
                    live.update(_text(rows), refresh=True)
                else:
                    output.line(clock(time.time()))
                    _print(output, rows)
            stop.wait(_INTERVAL)


def _read_again(stack: Stack, known: Mapping[str, Row]) -> dict[str, Row]:
    return _read(read_stack(stack.session, stack.name), known)


def _read(stack: Stack, known: Mapping[str, Row]) -> dict[str, Row]:
    """Read the rows that are not known, side by side."""
    running = {name: start(partial(_row, read, stack)) for name, read in _ROWS.items() if name not in known}
    return {name: known[name] if name in known else running[name].result() for name in _ROWS}


def _row(read: Callable[[Stack], Row], stack: Stack) -> Row:
    try:
        return read(stack)
    except (BotoCoreError, ClientError) as error:
        text = explain(error, "status")
        return Row(text, {"error": text}, "dim")


def _print(output: Output, rows: Mapping[str, Row]) -> None:
    output.line(_text(rows))
    data = {name.replace(" ", "_"): row.data for name, row in rows.items()}
    output.record(type="status", at=iso_time(time.time()), **data)


def _text(rows: Mapping[str, Row]) -> Text:
    return Text("\n").join(Text.assemble(f"{name:<14}  ", (row.text, row.style)) for name, row in rows.items())


def _stack(stack: Stack) -> Row:
    return Row(stack.status, stack.status, "" if stack.status.endswith("_COMPLETE") else "yellow")


def _last_delivery(stack: Stack) -> Row:
    line = read_last_delivery(stack)
    fields = ("event_type", "outcome", "reason", "webhook_id", "duration_ms")
    data = line and {"at": iso_time(line.time), **{field: line.fields.get(field) for field in fields}}
    return Row(delivery_text(line, stack.now()), data)


def _counts(stack: Stack) -> Row:
    counts = read_counts(stack)
    return Row(outcomes_text(counts), {name: counts.total(name) for name in (*OUTCOMES, *NOTED)})


def _dead_letters(stack: Stack) -> Row:
    depths = {queue.name: queue.depth for queue in read_queues(stack)}
    waiting = [f"{depth} in {name}" for name, depth in depths.items() if depth]
    return Row(", ".join(waiting) or f"none in {len(depths)} queues", depths, "yellow" if waiting else "")


def _alarms(stack: Stack) -> Row:
    states = {alarm.logical_id: alarm.state for alarm in read_alarms(stack)}
    others = [f"{name}: {state}" for name, state in states.items() if state != "OK"]
    text = ", ".join(others) or (f"{len(states)} OK" if states else "none")
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
