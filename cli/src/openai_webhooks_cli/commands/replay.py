"""`openai-webhooks replay`: past events again, to this terminal, a URL, a rule or all rules."""

import functools
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import typer
from botocore.exceptions import ClientError
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
from openai_webhooks_cli.aws.dead_letters import is_function
from openai_webhooks_cli.aws.rules import Rule, match, read_rules
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.aws.tap import Received, type_patterns
from openai_webhooks_cli.commands.event_text import answer_fields, answer_row, event_id
from openai_webhooks_cli.commands.forwarding import Answer, absent_servers, build_forwarder
from openai_webhooks_cli.shell.command import Selection, Yes, command
from openai_webhooks_cli.shell.errors import CannotRun, Failed, Stopped, explain, is_denied, is_expired
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
    file: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FILE", help="Take the events from a file of `listen --json`. - is the standard input."
        ),
    ] = None,
    to: Annotated[
        str, typer.Option(metavar="terminal | URL | RULE | all", help="Who gets the events. RULE is its name.")
    ] = _TERMINAL,
    unsigned: Annotated[bool, typer.Option("--unsigned", help="Post to the URL without a signature.")] = False,
    as_form: Annotated[
        Literal["eventbridge"] | None, typer.Option("--as", help="Post what a Lambda target of a rule gets.")
    ] = None,
    headers: Annotated[
        list[str] | None, typer.Option("--header", "-H", metavar="'NAME: VALUE'", help="Add a header to posts.")
    ] = None,
    retry: Annotated[
        int, typer.Option(min=0, max=20, help="How often to post again at once, if the answer is not 2xx.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be sent, and where.")] = False,
    yes: Yes = False,
) -> None:
    """Send past events again: to this terminal, a URL, a rule, or all rules.

    Events come from the stack's archive, or from a file. Functions with
    handle_once skip events that they have already handled.
    """
    ids = [argument for argument in chosen or [] if argument.startswith("evt_")]
    types = [argument for argument in chosen or [] if argument not in ids]
    _check_selection(ids, types, since=since, until=until, at=at, file=file)
    is_whole_range = not (ids or types or file)
    urls = [f"*={to}"] if ":" in to or "/" in to else []
    forwarder = build_forwarder(urls, unsigned=unsigned, as_form=as_form, headers=headers or [], retry=retry)
    patterns = type_patterns(output, types)
    events = _read_file(file) if file else []
    # Cached, and not called at once, because a file that goes to a URL needs no AWS.
    find = functools.cache(lambda: selection.find(output))
    rules = [] if urls or to == _TERMINAL else _receivers(find(), to, is_whole_range=is_whole_range)
    source = None if file else _find_source(find(), output, ids, since=since, until=until, at=at)
    _print_plan(output, ids + types, source, len(events) if file else None, to, rules, dry_run=dry_run)
    if dry_run or (to == _ALL and not output.confirm(f"Send the events to all {len(rules)} rules?", yes=yes)):
        return
    if absent_servers(forwarder.targets):
        raise CannotRun(f"Nothing listens on {printable(to)}. Start the server, and run the command again.")
    if source:
        with Stop() as stop:
            if is_whole_range and not urls and to != _TERMINAL:
                _replay_to_rules(source, output, stop, to, None if to == _ALL else [rule.arn for rule in rules])
                return
            events = fetch(source.stack, source.archive, output, stop, source.windows, ids=ids, types=patterns)
    missing = sorted(set(ids) - set(map(openai_id, events)))
    if rules:
        events = _matching(find(), output, rules[0], events)

    def deliver(message: Received) -> list[Answer]:
        if rules:
            return [_invoke(find(), target.arn, message.body) for target in rules[0].targets]
        return forwarder.forward(message.event, message.body)

    _send_all(output, events, deliver, to)
    if source and missing:
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
    ids: Sequence[str], types: Sequence[str], *, since: str | None, until: str | None, at: str | None, file: str | None
) -> None:
    if sum(map(bool, (ids, types, file))) > 1 or (file and (since or until or at)):
        raise CannotRun("Choose events in one way: EVENT_ID..., --since TIME [--until TIME] [TYPE...], or --from FILE.")
    if len(ids) > MAX_IDS:
        raise CannotRun(f"A rule's pattern has room for {MAX_IDS} ids. Pass at most {MAX_IDS} at a time.")
    if at and (since or until or not ids):
        raise CannotRun("--at is for EVENT_ID..., instead of --since and --until.")
    if not (ids or file or since):
        raise CannotRun("Choose events: EVENT_ID..., --since TIME [--until TIME] [TYPE...], or --from FILE.")


def _receivers(stack: Stack, to: str, *, is_whole_range: bool) -> list[Rule]:
    """Return the rule that gets the events, or all of them. Raises CannotRun."""
    rules = read_rules(stack)
    if to == _ALL and is_whole_range:
        return rules
    if to == _ALL:
        raise CannotRun(
            "Only a whole range can go to all rules. Send chosen events to one rule after another: --to RULE"
        )
    rule = next((rule for rule in rules if rule.name == to), None)
    if not rule:
        raise CannotRun(f"The bus {stack.bus} has no rule {printable(to)}. To list the rules: openai-webhooks rules")
    if is_whole_range and not rule.enabled:
        raise CannotRun(
            f"The rule {to} is disabled, so a replay to it has no effect. To enable it: "
            f"aws events enable-rule --name {to} --event-bus-name {stack.bus} --region {stack.region}"
        )
    if not rule.targets:
        raise CannotRun(f"The rule {to} has no target. To see the rules and their targets: openai-webhooks rules")
    if not is_whole_range and not all(is_function(target.arn) and not target.transforms for target in rule.targets):
        raise CannotRun(
            f"The rule {to} has a target that is not a function, or that gets only a part of the event. Only "
            f"EventBridge can send to it, and only a whole range: openai-webhooks replay --since TIME --to {to}"
        )
    return [rule]


def _print_plan(
    output: Output,
    chosen: Sequence[str],
    source: _Source | None,
    count: int | None,
    to: str,
    rules: Sequence[Rule],
    *,
    dry_run: bool,
) -> None:
    """Print what will be sent and where. The plan is the result of a dry run, otherwise it is a note."""
    say = output.line if dry_run else output.note
    what = ", ".join(map(printable, chosen)) or ("all" if count is None else str(count))
    say(f"events  {what}")
    windows = source.windows if source else []
    for window in windows:
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
        count=count,
        windows=[{"from": window.start.isoformat(), "to": window.end.isoformat()} for window in windows],
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


def _matching(stack: Stack, output: Output, rule: Rule, events: Sequence[Received]) -> list[Received]:
    """Return the events that the rule matches, because its functions expect no others."""
    matched = [row[0] for row in match(stack, [rule], (event.event for event in events))]
    skipped = [openai_id(event) for event, is_match in zip(events, matched, strict=True) if not is_match]
    if skipped and not any(matched):
        raise Failed(f"The rule {rule.name} matches none of the events. To see what it matches: openai-webhooks rules")
    if skipped:
        names = printable(", ".join(skipped), 2000)
        output.warning(f"The rule {rule.name} does not match these events, so they are not sent: {names}")
    return [event for event, is_match in zip(events, matched, strict=True) if is_match]


def _invoke(stack: Stack, arn: str, payload: str) -> Answer:
    """Invoke a function asynchronously, so that it has its own retries and dead-letter queue."""
    start = time.perf_counter()
    try:
        answer = stack.client("lambda").invoke(FunctionName=arn, InvocationType="Event", Payload=payload.encode())
    except ClientError as error:
        if is_denied(error) or is_expired(error):
            raise
        status, text = error.response["ResponseMetadata"]["HTTPStatusCode"], explain(error, "replay")
    else:
        status, text = answer["StatusCode"], ""
    return Answer(arn, status, (time.perf_counter() - start) * 1000, text)


def _read_file(name: str) -> list[Received]:
    """Read events from lines of `listen --json` or `show --json`, or from envelopes. Raises CannotRun."""
    try:
        text = sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8")
        events = list(_read_lines(text))
    except (OSError, ValueError, RecursionError) as error:
        raise CannotRun(f"Cannot read {printable(name)}: {printable(str(error))}") from None
    if not events:
        raise CannotRun(f"{printable(name)} has no events. To write some: openai-webhooks listen --json > FILE")
    return events


def _read_lines(text: str) -> Iterator[Received]:
    for line in filter(str.strip, text.split("\n")):
        record = json.loads(line)
        event = record.get("event", record) if isinstance(record, dict) else None
        # Other lines of `listen` say for instance that it is ready.
        if isinstance(event, dict) and "detail-type" in event and isinstance(event.get("detail"), dict):
            yield Received(json.dumps(event), 0.0, "")


def _command_line(ids: Sequence[str], to: str) -> list[str]:
    return ["openai-webhooks", "replay", *ids, "--to", to]


def _row(event: dict[str, Any]) -> Text:
    try:
        published = local_time(datetime.fromisoformat(str(event.get("time"))))
    except ValueError:  # a file can contain anything
        published = "?"
    event_type = printable(str(event.get("detail-type", "?")), 128)
    return Text.assemble((published, "dim"), "  ", (f"{event_type:<28}", "bold"), f"  {event_id(event)}")


def _iso(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="seconds")
