"""`openai-webhooks replay`: past events again, to this terminal, a URL, a rule or all rules."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, NamedTuple

import typer
from rich.text import Text

from openai_webhooks_cli.aws.archive import (
    MAX_IDS,
    READING,
    Archive,
    ReplayState,
    Window,
    fetch,
    not_found,
    openai_id,
    read_range,
    replay_name,
    replay_state,
    replaying,
    require_archive,
    search_windows,
)
from openai_webhooks_cli.aws.rules import Rule, enable_command, read_rules, require_rule, short_name, type_patterns
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.aws.tap import Received, event_id
from openai_webhooks_cli.commands.event_rows import answer_fields, answer_row, event_fields, warn_of_unknown
from openai_webhooks_cli.commands.forwarding import AsForm, Forwarder, Unsigned, absent_servers, build_forwarder
from openai_webhooks_cli.commands.open_stack import open_stack
from openai_webhooks_cli.shell import options
from openai_webhooks_cli.shell.background import start
from openai_webhooks_cli.shell.command import command
from openai_webhooks_cli.shell.errors import CannotRun, Failed, Stopped
from openai_webhooks_cli.shell.next_command import openai_webhooks
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.printable import printable
from openai_webhooks_cli.shell.stop import Stop
from openai_webhooks_cli.shell.times import local_time

app = typer.Typer()

_TERMINAL = "terminal"
_ALL = "all"
_POLL = 5  # seconds between questions about a replay's progress


@command(app, "replay")
def replay(
    chosen: Annotated[
        list[str] | None,
        typer.Argument(
            autocompletion=options.event_types,
            metavar="EVENT_ID | TYPE",
            help="OpenAI's ids of events, evt_..., or types of events in the range, such as batch.failed or 'batch.*'",
        ),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Start of the range: 24h, 09:14 or an ISO 8601 time. By default, ids are searched in the last 24h.",
        ),
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="End of the range. By default, now.")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Search ids only in the minute before and after this time.")
    ] = None,
    to: Annotated[
        str,
        typer.Option(
            metavar="terminal | URL | RULE | all",
            help="Who gets the events. A rule, by its name, and all rules get every event of the range.",
        ),
    ] = _TERMINAL,
    unsigned: Unsigned = False,
    as_form: AsForm = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be sent, and where.")] = False,
    yes: options.Yes = False,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Send past events again: to this terminal, a URL, a rule, or all rules.

    Events come from the stack's archive. Functions with handle_once skip events
    that they have already handled.
    """
    output = Output(as_json=as_json)
    ids = [argument for argument in chosen or [] if argument.startswith("evt_")]
    types = [argument for argument in chosen or [] if argument not in ids]
    is_url = ":" in to or "/" in to
    is_rule = to != _TERMINAL and not is_url
    _check_selection(ids, types, since=since, until=until, at=at, is_rule=is_rule)
    forwarder = build_forwarder([f"*={to}"] if is_url else [], unsigned=unsigned, as_form=as_form)
    patterns = type_patterns(types)
    warn_of_unknown(output, types)
    found = open_stack(output, stack, profile, region, endpoint_url)
    rules = _receivers(found, to) if is_rule else []
    source = _find_source(found, output, ids, since=since, until=until, at=at)
    _print_plan(output, ids + types, source, to, rules, dry_run=dry_run)
    if dry_run or (to == _ALL and not output.confirm(f"Send the events to all {len(rules)} rules?", yes=yes)):
        return
    if absent_servers(forwarder.targets):
        raise CannotRun(f"Nothing listens on {printable(to)}. Start the server, and run the command again.")
    if is_rule:
        _replay_to_rules(found, source, output, to, None if to == _ALL else [rule.arn for rule in rules])
        return
    with output.progress(READING), Stop(output.error) as stop:
        events = fetch(found, source.archive, stop, source.windows, ids=ids, types=patterns)
    _send_all(output, events, forwarder, to)
    if missing := sorted(set(ids) - set(map(openai_id, events))):
        raise not_found(missing, source.archive, source.windows[-1], source.now, ["replay", *missing, "--to", to])


class _Source(NamedTuple):
    """The archive, and where to search in it."""

    archive: Archive
    windows: list[Window]
    now: datetime


def _check_selection(
    ids: Sequence[str], types: Sequence[str], *, since: str | None, until: str | None, at: str | None, is_rule: bool
) -> None:
    """Raise CannotRun for arguments that contradict each other."""
    if ids and types:
        raise CannotRun("Choose events in one way: EVENT_ID..., or --since TIME [--until TIME] [TYPE...].")
    if len(ids) > MAX_IDS:
        raise CannotRun(f"A rule's pattern has room for {MAX_IDS} ids. Pass at most {MAX_IDS} at a time.")
    if at and (since or until or not ids):
        raise CannotRun("--at is for EVENT_ID..., instead of --since and --until.")
    if not (ids or since):
        raise CannotRun("Choose events: EVENT_ID..., or --since TIME [--until TIME] [TYPE...].")
    if is_rule and (ids or types):
        raise CannotRun(
            "EventBridge sends only a whole range to rules. Leave out EVENT_ID and TYPE, and pass --since and --until. "
            f"To handle failed events again: {openai_webhooks('dead-letters', 'redrive')}"
        )


def _receivers(stack: Stack, to: str) -> list[Rule]:
    """Return the rule that gets the events, or all of them. Raises CannotRun."""
    rules = read_rules(stack)
    if to == _ALL:
        return rules
    rule = require_rule(stack, rules, to)
    if not rule.enabled:
        raise CannotRun(
            f"The rule {to} is disabled, so a replay to it has no effect. To enable it: {enable_command(stack, to)}"
        )
    if not rule.targets:
        see = openai_webhooks("rules")
        raise CannotRun(f"The rule {to} has no target. To see the rules and their targets: {see}")
    return [rule]


def _find_source(
    stack: Stack, output: Output, ids: Sequence[str], *, since: str | None, until: str | None, at: str | None
) -> _Source:
    archive = require_archive(stack)
    now = datetime.fromtimestamp(stack.now(), UTC)
    if ids:
        return _Source(archive, search_windows(ids, archive, now, since=since or "24h", until=until, at=at), now)
    window, oldest = read_range(since or "", until, now), archive.oldest(now)
    kept = f"The archive keeps events {archive.retention}, and was created {local_time(archive.created_at)}."
    if window.end <= oldest:
        raise CannotRun(f"{kept} It has no events from {window}. Pass a later --since and --until.")
    if window.start < oldest:
        output.warning(f"{kept} Events before {local_time(oldest)} are missing.")
    return _Source(archive, [window], now)


def _print_plan(
    output: Output, chosen: Sequence[str], source: _Source, to: str, rules: Sequence[Rule], *, dry_run: bool
) -> None:
    """Print what will be sent and where. The plan is the result of a dry run, otherwise it is a note."""
    say = output.line if dry_run else output.note
    say(f"events  {', '.join(map(printable, chosen)) or 'all'}")
    for window in source.windows:
        say(f"from    {window}")
    say(f"to      {printable(to)}")
    for rule in rules:
        targets = ", ".join(short_name(target.arn) for target in rule.targets)
        say(f"        {rule.name}: {targets or 'no target'}" + ("" if rule.enabled else " (disabled)"))
    if to == _ALL:
        say("        the arrival log")
    output.record(
        type="plan",
        chosen=chosen,
        windows=[{"from": window.start.isoformat(), "to": window.end.isoformat()} for window in source.windows],
        to=to,
        rules=[{"name": rule.name, "targets": [target.arn for target in rule.targets]} for rule in rules],
    )


def _send_all(output: Output, events: Sequence[Received], forwarder: Forwarder, to: str) -> None:
    """Send events one after another.

    Raises Failed if some were not accepted. Ctrl-C raises Stopped at once, also while a server hangs.
    """
    failed, sent = [], 0
    try:
        with Stop(output.error) as stop:
            for message in events:
                if _send(output, message, forwarder, stop):
                    sent += 1
                else:
                    failed.append(openai_id(message))
    finally:
        output.note(f"{sent} of {len(events)} events were sent to {printable(to)}.")
    if failed:
        again = openai_webhooks("replay", *failed[:MAX_IDS], "--to", to)
        raise Failed(f"{len(failed)} events were not accepted. Fix the cause, and send them again: {again}")


def _send(output: Output, message: Received, forwarder: Forwarder, stop: Stop) -> bool:
    output.line(_row(message))
    answers = stop.result(start(partial(forwarder.forward, message.event, message.body)))
    for answer in answers:
        output.line(answer_row(answer, ""))
    forward = answer_fields(answers)
    output.record(type="event", **event_fields(message), **({"forward": forward} if forward else {}))
    return all(answer.ok for answer in answers)


def _row(message: Received) -> Text:
    event = message.event
    published = local_time(datetime.fromisoformat(event["time"])) if event else "?"
    event_type = printable(str(event.get("detail-type", "?")), 128)
    return Text.assemble((published, "dim"), "  ", (f"{event_type:<28}", "bold"), f"  {event_id(event)}")


def _replay_to_rules(stack: Stack, source: _Source, output: Output, to: str, rule_arns: list[str] | None) -> None:
    """Let EventBridge send the range, to some rules, or to all if `rule_arns` is None."""
    [window], name = source.windows, replay_name(stack)
    step = f"EventBridge replays to {to}, minute by minute"
    state = ReplayState("STARTING", None, "")
    stopped: Stopped | None = None
    try:
        with (
            Stop(output.error) as stop,
            replaying(stack, source.archive, name, window, rule_arns=rule_arns, stop=stop),
            output.progress(step) as status,
        ):
            while not (state := replay_state(stack, name)).is_over:
                if status and state.replayed_until:
                    status.update(Text(f"{step}. Now at {local_time(state.replayed_until)}"))
                stop.wait(_POLL)
    except Stopped as error:
        stopped = error
    output.record(type="replay", name=name, state=state.name, replayed_until=state.replayed_until)
    if stopped:
        reached = state.replayed_until or window.start
        rest = openai_webhooks("replay", "--since", _iso(reached), "--until", _iso(window.end), "--to", to)
        output.note(
            f"Canceled. Events before {local_time(reached)} were replayed, perhaps later ones too. For the rest: {rest}"
        )
        raise stopped
    if state.name != "COMPLETED":
        raise Failed(f"EventBridge ended the replay {name} with {state.name}: {state.reason}. Run the command again.")
    output.note(f"Replayed {window} to {to}.")


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
