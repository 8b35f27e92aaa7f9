"""`openai-webhooks listen`: live events in the terminal, forwarded to a server on this machine."""

import json
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.text import Text

from openai_webhooks_cli.aws.archive import read_range, replaying, require_archive
from openai_webhooks_cli.aws.rules import read_rules, require_rule, type_patterns
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.aws.tap import Pattern, find_leftovers, open_tap, sweep
from openai_webhooks_cli.commands.event_rows import warn_of_unknown
from openai_webhooks_cli.commands.forwarding import (
    AsForm,
    Unsigned,
    absent_servers,
    build_forwarder,
    development_secret,
)
from openai_webhooks_cli.commands.listen_page import LivePage
from openai_webhooks_cli.commands.listen_session import LiveSession, Settings
from openai_webhooks_cli.commands.open_stack import open_stack
from openai_webhooks_cli.shell import options
from openai_webhooks_cli.shell.command import command
from openai_webhooks_cli.shell.errors import CannotRun
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.printable import printable
from openai_webhooks_cli.shell.stop import Stop
from openai_webhooks_cli.shell.times import local_time, parse_duration

app = typer.Typer()


@command(app, "listen")
def listen(
    types: Annotated[
        list[str] | None,
        typer.Argument(
            autocompletion=options.event_types,
            metavar="[TYPE | 'TYPE.*']...",
            help="Event types to show, such as batch.completed, 'batch.*' or '*.failed'. By default, all.",
        ),
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
    unsigned: Unsigned = False,
    as_form: AsForm = None,
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
    yes: options.Yes = False,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Show live events, and forward them to a server on this machine.

    It creates a temporary queue and a temporary rule on the bus, and removes
    both at the end. Subscribers are not affected.
    """
    if print_secret:
        sys.stdout.write(development_secret() + "\n")
        return
    output = Output(as_json=as_json)
    forwarder = build_forwarder(forward_to or [], unsigned=unsigned, as_form=as_form)
    seconds = parse_duration(duration).total_seconds() if duration else None
    if seconds == 0:
        raise CannotRun("--for needs at least 1s.")
    filters = _filters(types or [], where or [])
    warn_of_unknown(output, types or [])
    if rule and (types or where):
        raise CannotRun("Choose either --rule, or TYPE and --where.")
    found = open_stack(output, stack, profile, region, endpoint_url)
    if clean:
        _clean(found, output, yes=yes)
        return
    alternatives = _patterns_of_rule(found, rule) if rule else [{"source": [found.event_source], **filters}]
    with ExitStack() as parts:
        live_page = LivePage(f"openai-webhooks · {found.identity}", forwarder) if page else None
        if live_page:
            parts.callback(live_page.close)
            output.note(f"Page: {live_page.url}")
        stop = parts.enter_context(Stop(output.error))
        _listen(found, output, stop, Settings(forwarder, maximum, seconds, live_page), alternatives, since)


def _listen(
    stack: Stack, output: Output, stop: Stop, settings: Settings, alternatives: list[Pattern], since: str | None
) -> None:
    started = time.monotonic()
    archive = require_archive(stack) if since else None
    past = read_range(since, None, datetime.fromtimestamp(stack.now(), UTC)) if since else None
    replay = f"listen-{secrets.token_hex(8)}"
    for url in absent_servers(settings.forwarder.targets):
        output.warning(f"Nothing listens on {url} yet. Events are shown; forwards fail until it does.")
    if swept := sweep(stack):
        output.note(f"Removed what {len(swept)} ended sessions left: {', '.join(swept)}.")
    names = [{"exists": False}, *([replay] if past else [])]
    patterns = [{**pattern, "replay-name": names} for pattern in alternatives]
    try:
        with ExitStack() as parts:
            tap = parts.enter_context(open_tap(stack, patterns, stop))
            session = LiveSession(tap, output, settings)
            stop.on_first = session.quit
            stop.check()  # a signal that came before that
            output.record(type="ready", session=tap.session, rule=tap.name, bus=stack.bus)
            _announce(output, seconds=time.monotonic() - started)
            if archive and past:
                parts.enter_context(replaying(stack, archive, replay, past, rule_arns=[tap.rule_arn], stop=stop))
                output.note(
                    f"Past events since {local_time(past.start)} follow, not in order. "
                    "An event can take 10 minutes to reach the archive."
                )
            try:
                session.run(interactive=output.is_terminal)
            finally:
                stop.on_first = lambda: None
            stop.check()
    finally:
        output.record(type="closed", removed=not stop.leaves_something)
        if not stop.leaves_something:
            output.note("Removed the temporary rule and queue.")


def _announce(output: Output, *, seconds: float) -> None:
    how = f"Ready in {seconds:.1f} s: a probe went bus -> rule -> queue -> here."
    output.note(Text.assemble(("● ", "green"), how, " Ctrl-C removes both."))
    if output.is_terminal:
        output.note("[r] send again  [d] details  [q] quit", "dim")


def _clean(stack: Stack, output: Output, *, yes: bool) -> None:
    leftovers = find_leftovers(stack)
    running = [leftover.name for leftover in leftovers if leftover.expires_at >= stack.now()]
    removed = sweep(stack)
    question = (
        f"{len(running)} sessions may still run, perhaps on other machines: {', '.join(running)}. Remove them too?"
    )
    try:
        if running and output.confirm(question, yes=yes):
            removed += sweep(stack, running_too=True)
    finally:
        for name in removed:
            output.item(f"Removed {name}.", type="removed", name=name)
    if not leftovers:
        output.line("Nothing to remove.")


def _filters(types: Sequence[str], where: Sequence[str]) -> Pattern:
    """Return the part of the pattern for TYPE and --where."""
    pattern: Pattern = {}
    if types:
        pattern["detail-type"] = type_patterns(types)
    for condition in where:
        field, separator, value = condition.partition("=")
        *path, name = field.split(".")
        if not separator or not all([*path, name]):
            raise CannotRun(f"Cannot read --where {printable(condition)}. Write FIELD=VALUE, such as data.id=batch_1.")
        node = pattern.setdefault("detail", {})
        for part in path:
            node = node.setdefault(part, {}) if isinstance(node, dict) else None
        values = node.setdefault(name, []) if isinstance(node, dict) else None
        if not isinstance(values, list):
            raise CannotRun(f"--where {printable(condition)} and another --where exclude each other.")
        values += _values(value)
    return pattern


def _values(text: str) -> list[Any]:
    """Return the values that a person can mean: 5 is a number or a text."""
    try:
        value = json.loads(text)
    except ValueError:
        return [text]
    return [text] if isinstance(value, (list, dict, str)) else [text, value]


def _patterns_of_rule(stack: Stack, name: str) -> list[Pattern]:
    """Return the pattern of a rule, without `$or` at its top."""
    pattern: Pattern = json.loads(require_rule(stack, read_rules(stack), name).pattern)
    alternatives = pattern.pop("$or", [{}])
    return [{**pattern, **alternative} for alternative in alternatives]
