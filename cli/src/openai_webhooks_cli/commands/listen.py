"""`openai-webhooks listen`: live events in the terminal, forwarded to a server on this machine."""

import json
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer
from botocore.exceptions import ClientError
from rich.text import Text

from openai_webhooks_cli.aws.archive import (
    cancel_replay,
    parse_duration,
    parse_time,
    require_archive,
    start_replay,
)
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.aws.tap import Pattern, Tap, find_leftovers, open_tap, sweep, type_patterns
from openai_webhooks_cli.commands.forwarding import absent_servers, build_forwarder, development_secret
from openai_webhooks_cli.commands.listen_page import LivePage
from openai_webhooks_cli.commands.listen_session import LiveSession, Settings
from openai_webhooks_cli.shell.command import Selection, Yes, command
from openai_webhooks_cli.shell.errors import CannotRun
from openai_webhooks_cli.shell.output import Output, printable
from openai_webhooks_cli.shell.stop import Stop


@command("listen")
def listen(
    output: Output,
    selection: Selection,
    types: Annotated[
        list[str] | None, typer.Argument(metavar="[TYPE | TYPE.*]...", help="Event types to show. By default, all.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=VALUE", help="Show only events with this field, such as data.id=batch_1."),
    ] = None,
    rule: Annotated[
        str | None, typer.Option(metavar="NAME", help="Show only events that this rule on the bus matches.")
    ] = None,
    forward_to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[TYPE=]URL", help="Post each event to this URL, signed with this machine's development secret."
        ),
    ] = None,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Forward without a signature.")] = False,
    as_form: Annotated[
        Literal["eventbridge"] | None, typer.Option("--as", help="Forward what a Lambda target of a rule gets.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Also show archived events since then: 15m, 09:14 or an ISO 8601 time."),
    ] = None,
    duration: Annotated[str | None, typer.Option("--for", metavar="DURATION", help="Stop after 90s, 30m, 2h.")] = None,
    maximum: Annotated[int | None, typer.Option("--max", min=1, help="Stop after this many events.")] = None,
    page: Annotated[bool, typer.Option("--page", help="Also show the events on a page in your browser.")] = False,
    print_secret: Annotated[
        bool, typer.Option("--print-secret", help="Print the secret that signs forwards. It stays the same.")
    ] = False,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove the rules and queues that crashed sessions left.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Show live events, and forward them to a server on this machine.

    It creates a temporary queue and a temporary rule on the bus, and removes
    both at the end. Subscribers are not affected.
    """
    if print_secret:
        sys.stdout.write(development_secret() + "\n")
        return
    forwarder = build_forwarder(forward_to or [], unsigned=unsigned, as_form=as_form)
    seconds = parse_duration(duration).total_seconds() if duration else None
    filters = _filters(output, types or [], where or [])
    if rule and (types or where):
        raise CannotRun("Choose either --rule, or TYPE and --where.")
    found = selection.find(output)
    if clean:
        _clean(found, output, yes=yes)
        return
    alternatives = _patterns_of_rule(found, rule) if rule else [{"source": [found.event_source], **filters}]
    with ExitStack() as parts:
        live_page = LivePage(f"openai-webhooks · {found.identity}", forwarder) if page else None
        if live_page:
            parts.callback(live_page.close)
            output.note(f"Page: {live_page.url}")
        stop = parts.enter_context(Stop())
        settings = Settings(forwarder, maximum, seconds, live_page)
        _listen(found, output, stop, settings, alternatives, since=since)


def _listen(
    stack: Stack,
    output: Output,
    stop: Stop,
    settings: Settings,
    alternatives: list[Pattern],
    *,
    since: str | None,
) -> None:
    started = time.monotonic()
    now = datetime.fromtimestamp(stack.now(), UTC)
    history = _History(stack, parse_time(since, now), now) if since else None
    for url in absent_servers(settings.forwarder.targets):
        output.warning(f"Nothing listens on {url} yet. Events are shown; forwards fail until it does.")
    swept = sweep(stack)
    if swept:
        output.note(f"Removed what {len(swept)} ended sessions left: {', '.join(swept)}.")
    removed = True

    def on_cleanup_failure(text: str) -> None:
        nonlocal removed
        removed = False
        output.error(text)

    names = [{"exists": False}, *([history.name] if history else [])]
    taps = open_tap(
        stack,
        [{**pattern, "replay-name": names} for pattern in alternatives],
        stop,
        on_cleanup_failure=on_cleanup_failure,
    )
    try:
        with taps as tap:
            session = LiveSession(tap, output, settings)
            stop.on_first = session.quit
            stop.check()  # a signal that came before that
            _announce(output, tap, seconds=time.monotonic() - started)
            if history:
                history.start(tap, output)
            try:
                session.run(interactive=output.is_terminal)
            finally:
                stop.on_first = lambda: None
                if history:
                    history.cancel()
            stop.check()
    finally:
        output.record(type="closed", removed=removed)
        if removed:
            output.note("Removed the temporary rule and queue.")


class _History:
    """A replay of past events to the tap's rule only."""

    def __init__(self, stack: Stack, start: datetime, end: datetime) -> None:
        self._stack = stack
        self._archive = require_archive(stack)
        self._start, self._end = start, end
        self.name = f"listen-{secrets.token_hex(8)}"
        if start >= end:
            raise CannotRun("--since is in the future.")

    def start(self, tap: Tap, output: Output) -> None:
        start_replay(self._stack, self._archive, self.name, start=self._start, end=self._end, rule_arns=[tap.rule_arn])
        output.note(
            f"Past events since {self._start.astimezone():%Y-%m-%d %H:%M} follow, not in order. "
            "An event can take 10 minutes to reach the archive."
        )

    def cancel(self) -> None:
        cancel_replay(self._stack, self.name)


def _announce(output: Output, tap: Tap, *, seconds: float) -> None:
    output.record(type="ready", session=tap.session, rule=tap.name, bus=tap.stack.bus)
    how = f"Ready in {seconds:.1f} s: a probe went bus -> rule -> queue -> here."
    output.note(Text.assemble(("● ", "green"), how, " Ctrl-C removes both."))
    if output.is_terminal:
        output.note("[r] send again  [d] details  [q] quit", "dim")


def _clean(stack: Stack, output: Output, *, yes: bool) -> None:
    leftovers = find_leftovers(stack)
    running = [leftover for leftover in leftovers if leftover.expires_at >= stack.now()]
    ended = sweep(stack)
    for name in ended:
        output.line(f"Removed {name}.")
        output.record(type="removed", name=name)
    if running:
        names = ", ".join(leftover.name for leftover in running)
        question = f"{len(running)} sessions may still run, perhaps on other machines: {names}. Remove them too?"
        if output.confirm(question, yes=yes):
            for name in sweep(stack, running_too=True):
                output.line(f"Removed {name}.")
                output.record(type="removed", name=name)
    if not leftovers:
        output.line("Nothing to remove.")


def _filters(output: Output, types: Sequence[str], where: Sequence[str]) -> Pattern:
    """Return the part of the pattern for TYPE and --where."""
    pattern: Pattern = {}
    if types:
        pattern["detail-type"] = type_patterns(output, types)
    for condition in where:
        field, separator, value = condition.partition("=")
        *path, name = field.split(".")
        if not separator or not all([*path, name]):
            raise CannotRun(f"Cannot read --where {printable(condition)}. Write FIELD=VALUE, such as data.id=batch_1.")
        node = pattern.setdefault("detail", {})
        for part in path:
            node = node.setdefault(part, {})
        node.setdefault(name, []).append(_value(value))
    return pattern


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if isinstance(value, (list, dict)) else value


def _patterns_of_rule(stack: Stack, name: str) -> list[Pattern]:
    """Return the pattern of a rule, without `$or` at its top."""
    try:
        described = stack.client("events").describe_rule(Name=name, EventBusName=stack.bus)
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
        raise CannotRun(f"The bus has no rule {printable(name)}. To list its rules: openai-webhooks rules") from None
    pattern: Pattern = json.loads(described["EventPattern"])
    alternatives = pattern.pop("$or", [{}])
    return [{**pattern, **alternative} for alternative in alternatives]
