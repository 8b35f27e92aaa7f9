"""`openai-webhooks replay`: past events again, to this terminal, a URL, a rule or all rules."""

import shlex
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

import typer
from rich.text import Text

from openai_webhooks_cli.aws.archive import (
    Archive,
    ReplayState,
    Window,
    local_time,
    replay_name,
    replay_state,
    replaying,
    require_archive,
)
from openai_webhooks_cli.aws.archived_events import (
    MAX_IDS,
    fetch,
    not_found,
    openai_id,
    read_range,
    search_windows,
)
from openai_webhooks_cli.aws.rules import Rule, read_rules
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.aws.tap import Received, type_patterns
from openai_webhooks_cli.commands.event_text import answer_fields, answer_row, event_id
from openai_webhooks_cli.commands.forwarding import Answer, absent_servers, build_forwarder
from openai_webhooks_cli.shell.command import Selection, Yes, command
from openai_webhooks_cli.shell.errors import CannotRun, Failed, Stopped
from openai_webhooks_cli.shell.output import Output, printable
from openai_webhooks_cli.shell.stop import Stop

_TERMINAL = "terminal"
_ALL = "all"
_POLL = 5  # seconds between questions about a replay's progress


@command("replay")
def replay(
    output: Output,
    selection: Selection,
    chosen: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="EVENT_ID | TYPE",
            help="OpenAI's ids of events, evt_..., or types of events in the range, such as batch.completed or batch.*",
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
        str, typer.Option(metavar="terminal | URL | RULE | all", help="Who gets the events. RULE is its name.")
    ] = _TERMINAL,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Post to the URL without a signature.")] = False,
    as_form: Annotated[
        Literal["eventbridge"] | None, typer.Option("--as", help="Post what a Lambda target of a rule gets.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be sent, and where.")] = False,
    yes: Yes = False,
) -> None:
    """Send past events again: to this terminal, a URL, a rule, or all rules.

    Events come from the stack's archive. A rule, or all rules, get every event
    of a range. Functions with handle_once skip events that they have handled.
    """
    ids = [argument for argument in chosen or [] if argument.startswith("evt_")]
    types = [argument for argument in chosen or [] if argument not in ids]
    is_local = to == _TERMINAL or ":" in to or "/" in to
    _check_selection(ids, types, since=since, until=until, at=at, to="" if is_local else to)
    urls = [] if to == _TERMINAL or not is_local else [f"*={to}"]
    forwarder = build_forwarder(urls, unsigned=unsigned, as_form=as_form)
    patterns = type_patterns(output, types)
    found = selection.find(output)
    rules = [] if is_local else _receivers(found, to)
    source = _find_source(found, output, ids, since=since, until=until, at=at)
    _print_plan(output, ids + types, source, to, rules, dry_run=dry_run)
    if dry_run or (to == _ALL and not output.confirm(f"Send the events to all {len(rules)} rules?", yes=yes)):
        return
    if absent_servers(forwarder.targets):
        raise CannotRun(f"Nothing listens on {printable(to)}. Start the server, and run the command again.")
    with Stop() as stop:
        if not is_local:
            _replay_to_rules(source, output, stop, to, None if to == _ALL else [rule.arn for rule in rules])
            return
        events = fetch(found, source.archive, output, stop, source.windows, ids=ids, types=patterns)
    missing = sorted(set(ids) - set(map(openai_id, events)))
    _send_all(output, events, lambda message: forwarder.forward(message.event, message.body), to)
    if missing:
        raise not_found(missing, source.archive, source.windows[-1], source.now, _command_line(missing, to))


class _Source(NamedTuple):
    """The archive, and where to search in it."""

    stack: Stack
    archive: Archive
    windows: list[Window]
    now: datetime


def _find_source(
    stack: Stack, output: Output, ids: Sequence[str], *, since: str | None, until: str | None, at: str | None
) -> _Source:
    archive = require_archive(stack)
    now = datetime.fromtimestamp(stack.now(), UTC)
    if ids:
        windows = search_windows(ids, archive, now, since=since or "24h", until=until, at=at)
        return _Source(stack, archive, windows, now)
    window, oldest = read_range(since or "", until, now), archive.oldest(now)
    kept = f"The archive keeps events {archive.retention}, and was created {local_time(archive.created_at)}."
    if window.end <= oldest:
        raise CannotRun(f"{kept} It has no events from {window}. Pass a later --since and --until.")
    if window.start < oldest:
        output.warning(f"{kept} Events before {local_time(oldest)} are missing.")
    return _Source(stack, archive, [window], now)


def _send_all(output: Output, events: Sequence[Received], deliver: Callable[[Received], list[Answer]], to: str) -> None:
    """Send events one after another.

    Raises Failed if some were not accepted. Ctrl-C raises KeyboardInterrupt at once, also while a server hangs.
    """
    failed, sent = [], 0
    try:
        for message in events:
            if _send(output, message, deliver):
                sent += 1
            else:
                failed.append(openai_id(message))
    finally:
        output.note(f"{sent} of {len(events)} events were sent to {printable(to)}.")
    if failed:
        command_line = printable(shlex.join(_command_line(failed[:MAX_IDS], to)), 10_000)
        raise Failed(f"{len(failed)} events were not accepted. Fix the cause, and send them again: {command_line}")


def _send(output: Output, message: Received, deliver: Callable[[Received], list[Answer]]) -> bool:
    event = message.event
    output.line(_row(event))
    answers = deliver(message)
    for answer in answers:
        output.line(answer_row(answer, ""))
    forward = answer_fields(answers)
    content: dict[str, Any] = {"event": event} if event else {"body": message.body}
    output.record(type="event", **content, **({"forward": forward} if forward else {}))
    return all(answer.ok for answer in answers)


def _check_selection(
    ids: Sequence[str], types: Sequence[str], *, since: str | None, until: str | None, at: str | None, to: str
) -> None:
    """Raises CannotRun for arguments that contradict each other. `to` is a rule or `all`, or empty."""
    if ids and types:
        raise CannotRun("Choose events in one way: EVENT_ID..., or --since TIME [--until TIME] [TYPE...].")
    if len(ids) > MAX_IDS:
        raise CannotRun(f"A rule's pattern has room for {MAX_IDS} ids. Pass at most {MAX_IDS} at a time.")
    if at and (since or until or not ids):
        raise CannotRun("--at is for EVENT_ID..., instead of --since and --until.")
    if not (ids or since):
        raise CannotRun("Choose events: EVENT_ID..., or --since TIME [--until TIME] [TYPE...].")
    if to and (ids or types):
        raise CannotRun(
            "EventBridge can send only a whole range to rules: pass --since and --until around the event, "
            "without EVENT_ID and TYPE. To handle a failed event again, use: openai-webhooks dead-letters redrive"
        )


def _receivers(stack: Stack, to: str) -> list[Rule]:
    """Return the rule that gets the events, or all of them. Raises CannotRun."""
    rules = read_rules(stack)
    if to == _ALL:
        return rules
    rule = next((rule for rule in rules if rule.name == to), None)
    if not rule:
        raise CannotRun(f"The bus {stack.bus} has no rule {printable(to)}. To list the rules: openai-webhooks rules")
    if not rule.enabled:
        raise CannotRun(
            f"The rule {to} is disabled, so a replay to it has no effect. To enable it: "
            f"aws events enable-rule --name {to} --event-bus-name {stack.bus} --region {stack.region}"
        )
    if not rule.targets:
        raise CannotRun(f"The rule {to} has no target. To see the rules and their targets: openai-webhooks rules")
    return [rule]


def _print_plan(
    output: Output,
    chosen: Sequence[str],
    source: _Source,
    to: str,
    rules: Sequence[Rule],
    *,
    dry_run: bool,
) -> None:
    """Print what will be sent and where. The plan is the result of a dry run, otherwise it is a note."""
    say = output.line if dry_run else output.note
    say(f"events  {', '.join(map(printable, chosen)) or 'all'}")
    for window in source.windows:
        say(f"from    {window}")
    say(f"to      {printable(to)}")
    for rule in rules:
        targets = ", ".join(target.arn.rpartition(":")[2] for target in rule.targets)
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


def _replay_to_rules(source: _Source, output: Output, stop: Stop, to: str, rule_arns: list[str] | None) -> None:
    """Let EventBridge send the range, to some rules, or to all if `rule_arns` is None."""
    [window], name = source.windows, replay_name(source.stack)
    step = f"EventBridge replays to {to}, minute by minute"
    state = ReplayState("STARTING", None, "")
    stopped: Stopped | None = None
    try:
        with (
            replaying(
                source.stack,
                source.archive,
                name,
                window,
                rule_arns=rule_arns,
                stop=stop,
                on_cleanup_failure=output.error,
            ),
            output.progress(step) as status,
        ):
            while not (state := replay_state(source.stack, name)).is_over:
                if status and state.replayed_until:
                    status.update(Text(f"{step}. Now at {local_time(state.replayed_until)}"))
                stop.wait(_POLL)
    except Stopped as error:
        stopped = error
    output.record(type="replay", name=name, state=state.name, replayed_until=state.replayed_until)
    if stopped:
        reached = state.replayed_until or window.start
        output.note(
            f"Canceled. Events before {local_time(reached)} were replayed, perhaps later ones too. For the rest: "
            f"openai-webhooks replay --since {_iso(reached)} --until {_iso(window.end)} --to {to}"
        )
        raise stopped
    if state.name != "COMPLETED":
        raise Failed(f"EventBridge ended the replay {name} with {state.name}: {state.reason}. Run the command again.")
    output.note(f"Replayed {window} to {to}.")


def _command_line(ids: Sequence[str], to: str) -> list[str]:
    return ["openai-webhooks", "replay", *ids, "--to", to]


def _row(event: dict[str, Any]) -> Text:
    published = local_time(datetime.fromisoformat(event["time"])) if event else "?"
    event_type = printable(str(event.get("detail-type", "?")), 128)
    return Text.assemble((published, "dim"), "  ", (f"{event_type:<28}", "bold"), f"  {event_id(event)}")


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
