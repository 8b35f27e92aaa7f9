"""The stack's archive, replays from it, and archived events that are read without sending them to a subscriber.

A replay sends archived events to the bus again, with a field `replay-name`. EventBridge replays minute by minute, by
the events' times, and keeps no order within a minute. An event can take 10 minutes to reach the archive:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-archive.html

EventBridge can neither select archived events nor return them. So `fetch` replays a period to one temporary rule only,
the rule of a tap. Its pattern selects the events, and its queue keeps them.
"""

import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.aws.tap import LEASE, RENEWAL, Pattern, Received, Tap, open_tap
from openai_webhooks_cli.shell.errors import CannotRun, Failed, explain, if_found
from openai_webhooks_cli.shell.next_command import aws, make, openai_webhooks
from openai_webhooks_cli.shell.printable import printable
from openai_webhooks_cli.shell.stop import Stop
from openai_webhooks_cli.shell.times import local_time, parse_time

READING: Final = "Reading the archive. EventBridge replays minute by minute; events of the last 10 minutes can be late"
"""What `fetch` does, for people."""
QUIET = 6
"""Seconds without an event, after the end of a replay, until all events have arrived."""
MAX_IDS = 30
"""Ids that fit into a rule's pattern, which can have 2,048 characters."""
_WAIT = 2  # seconds for a long poll, which Ctrl-C has to wait for
_BEFORE, _AFTER = timedelta(minutes=5), timedelta(minutes=10)


class Archive(NamedTuple):
    """An archive of the bus."""

    name: str
    arn: str
    state: str
    """`ENABLED`, or why it does not work."""
    retention_days: int
    """0 if the archive keeps events without a limit."""
    created_at: datetime

    @property
    def retention(self) -> str:
        """How long the archive keeps events."""
        return f"for {self.retention_days} days" if self.retention_days else "without a limit"

    def oldest(self, now: datetime) -> datetime:
        """Return the time of the oldest events that the archive can have."""
        days = self.retention_days
        return max(self.created_at, now - timedelta(days=days)) if days else self.created_at


class Window(NamedTuple):
    """A period in the events' times, without its end."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"{local_time(self.start)} to {local_time(self.end)}"


class ReplayState(NamedTuple):
    """How far a replay is."""

    name: str
    """EventBridge's word, such as `RUNNING`."""
    replayed_until: datetime | None
    """The time of the last event that was replayed."""
    reason: str

    @property
    def is_over(self) -> bool:
        return self.name in ("COMPLETED", "CANCELLED", "FAILED")


def read_archive(stack: Stack) -> Archive | None:
    """Return the stack's archive, or None if the stack has none."""
    name = stack.physical_id("EventArchive")
    if not name:
        return None
    answer = stack.client("events").describe_archive(ArchiveName=name)
    return Archive(name, answer["ArchiveArn"], answer["State"], answer.get("RetentionDays", 0), answer["CreationTime"])


def require_archive(stack: Stack) -> Archive:
    """Return the stack's archive. Raises CannotRun if the stack has none."""
    archive = read_archive(stack)
    if archive:
        return archive
    if stack.session.is_embedded:
        raise CannotRun("The embedded AWS of `openai-webhooks dev` has no archive. Use a deployed stack.")
    raise CannotRun(
        f"The stack {stack.name} has no archive, so past events are not available. To keep future events: "
        f"{make('deploy', '--parameter-overrides', 'ArchiveRetentionDays=14')}"
    )


@contextmanager
def replaying(
    stack: Stack, archive: Archive, name: str, window: Window, *, rule_arns: Sequence[str] | None, stop: Stop
) -> Iterator[None]:
    """Start a replay, and cancel it at the end of the `with` statement if it still runs.

    None for `rule_arns` sends the events to every rule on the bus.
    """
    cancel = aws("events", "cancel-replay", "--replay-name", name, region=stack.region)
    advice = f"The replay may still run. To cancel it:\n  {cancel}"
    with stop.unfinished(lambda: advice):
        try:
            _start_replay(stack, archive, name, window, rule_arns=rule_arns)
        except BotoCoreError:  # no answer, so EventBridge may have started it
            stop.leave(advice)
            raise
        try:
            yield
        finally:
            try:
                _cancel_replay(stack, name)
            except (BotoCoreError, ClientError) as error:
                stop.leave(f"The replay could not be canceled. {explain(error)} {advice}")


def replay_state(stack: Stack, name: str) -> ReplayState:
    """Return how far a replay is."""
    answer = stack.client("events").describe_replay(ReplayName=name)
    return ReplayState(answer["State"], answer.get("EventLastReplayedTime"), printable(answer.get("StateReason", "")))


def replay_name(stack: Stack) -> str:
    """Return a new name for a replay. It leaves room for a suffix."""
    return f"{stack.name[:40]}-{secrets.token_hex(4)}"


def _start_replay(
    stack: Stack, archive: Archive, name: str, window: Window, *, rule_arns: Sequence[str] | None
) -> None:
    """Replay the events of a window. None for `rule_arns` sends them to every rule on the bus."""
    destination = {"Arn": stack.bus_arn, **({} if rule_arns is None else {"FilterArns": rule_arns})}
    stack.client("events").start_replay(
        ReplayName=name,
        EventSourceArn=archive.arn,
        EventStartTime=window.start,
        EventEndTime=window.end,
        Destination=destination,
    )


def _cancel_replay(stack: Stack, name: str) -> None:
    """Cancel a replay that may have ended."""
    try:
        if_found(lambda: stack.client("events").cancel_replay(ReplayName=name))
    except stack.client("events").exceptions.IllegalStatusException:
        pass


def fetch(
    stack: Stack,
    archive: Archive,
    stop: Stop,
    windows: Sequence[Window],
    *,
    ids: Sequence[str] = (),
    types: Sequence[Any] = (),
) -> list[Received]:
    """Return the archived events of some windows, each event once, in the order of their times.

    `ids` are OpenAI's. `types` are types in the form of an event pattern. Windows are read one after another, and the
    later ones only if an id was not found.
    """
    name = replay_name(stack)
    names = [f"{name}-{number}" for number, _ in enumerate(windows, start=1)]
    pattern: Pattern = {"replay-name": names}
    if ids:
        pattern["detail"] = {"id": list(ids)}
    if types:
        pattern["detail-type"] = list(types)
    found: dict[str, Received] = {}
    missing = set(ids)
    with open_tap(stack, [pattern], stop) as tap:
        for replay, window in zip(names, windows, strict=True):
            with replaying(stack, archive, replay, window, rule_arns=[tap.rule_arn], stop=stop):
                for message in _receive(tap, replay, stop, is_enough=lambda: bool(ids) and not missing):
                    found.setdefault(_key(message), message)
                    missing.discard(openai_id(message))
            if ids and not missing:
                break
    return sorted(found.values(), key=lambda message: str(message.event.get("time")))


def openai_id(message: Received) -> str:
    """Return OpenAI's id of an event, or an empty text."""
    return str(message.event.get("detail", {}).get("id", ""))


def search_windows(
    ids: Sequence[str], archive: Archive, now: datetime, *, since: str, until: str | None = None, at: str | None = None
) -> list[Window]:
    """Return where to search for events: the likely times first, then the whole range. Raises CannotRun."""
    if at:
        moment, minute = parse_time(at, now), timedelta(minutes=1)
        return [_window(moment - minute, min(now, moment + minute))]
    whole = read_range(since, until, now)
    times = [found for found in map(_id_time, ids) if found and archive.oldest(now) <= found <= now]
    if len(times) < len(ids):
        return [whole]
    likely = Window(min(times) - _BEFORE, min(now, max(times) + _AFTER))
    return [likely, whole] if likely.end - likely.start < whole.end - whole.start else [whole]


def read_range(since: str, until: str | None, now: datetime) -> Window:
    """Read --since and --until. Raises CannotRun."""
    return _window(parse_time(since, now), min(now, parse_time(until, now)) if until else now)


def not_found(ids: Sequence[str], archive: Archive, searched: Window, now: datetime, again: Sequence[str]) -> Failed:
    """Return the failure for events that were not found. `again` is the command to run with another --since."""
    oldest = archive.oldest(now)
    if searched.start > oldest:
        since = f"{(now - oldest).days + 1}d"
        advice = f"To search the whole archive: {openai_webhooks(*again, '--since', since)}"
    else:
        advice = f"To check whether deliveries arrive: {openai_webhooks('doctor')}"
    return Failed(
        f"The archive has no event {printable(', '.join(ids), 10_000)} from {searched}. It keeps events "
        f"{archive.retention}; the oldest can be from {local_time(oldest)}. A new event can take 10 minutes to reach "
        f"the archive. {advice}"
    )


def _window(start: datetime, end: datetime) -> Window:
    if start >= end:
        raise CannotRun(f"There is no time from {local_time(start)} to {local_time(end)}. Pass an earlier start.")
    return Window(start, end)


def _id_time(text: str) -> datetime | None:
    """Return the time in an event's id. OpenAI does not document it, so it is only a hint."""
    found = re.match(r"evt_([0-9a-f]{8})", text)
    return datetime.fromtimestamp(int(found[1], 16), UTC) if found else None


def _receive(tap: Tap, replay: str, stop: Stop, *, is_enough: Callable[[], bool]) -> Iterator[Received]:
    """Yield what a replay sends, until it has ended, or `is_enough`, and nothing more arrives."""
    quiet_since: float | None = None
    while quiet_since is None or time.monotonic() - quiet_since < QUIET:
        stop.check()
        if tap.stack.now() > tap.lease_end - LEASE + RENEWAL:
            tap.renew()
        messages = tap.receive(wait=_WAIT)
        yield from (message for message in messages if not tap.is_probe(message))
        tap.delete(messages)
        if messages:
            quiet_since = None
        elif quiet_since is None and (is_enough() or _has_ended(tap.stack, replay)):
            quiet_since = time.monotonic()


def _has_ended(stack: Stack, replay: str) -> bool:
    state = replay_state(stack, replay)
    if state.name == "FAILED":
        raise Failed(f"EventBridge could not read the archive: {state.reason or 'it gives no reason'}. Try again.")
    return state.is_over


def _key(message: Received) -> str:
    """Return what identifies an event. A replay may give it another id, and a queue can deliver it twice."""
    event = message.event
    return json.dumps([event["time"], event["detail"]]) if event else message.body
