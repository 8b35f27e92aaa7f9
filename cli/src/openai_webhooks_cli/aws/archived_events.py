"""Archived events, read without sending them to a subscriber.

EventBridge can neither select archived events nor return them. So a replay sends a period to one temporary rule only,
the rule of a tap. Its pattern selects the events, and its queue keeps them for this module.
"""

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from openai_webhooks_cli.aws.archive import (
    Archive,
    Window,
    local_time,
    parse_time,
    replay_name,
    replay_state,
    replaying,
)
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.aws.tap import LEASE, RENEWAL, Pattern, Received, Tap, open_tap
from openai_webhooks_cli.shell.errors import CannotRun, Failed
from openai_webhooks_cli.shell.output import Output, printable
from openai_webhooks_cli.shell.stop import Stop

QUIET = 6
"""Seconds without an event, after the end of a replay, until all events have arrived."""
MAX_IDS = 30
"""Ids that fit into a rule's pattern, which can have 2,048 characters."""
_WAIT = 2  # seconds for a long poll, which Ctrl-C has to wait for
_BEFORE, _AFTER = timedelta(minutes=5), timedelta(minutes=10)


def fetch(
    stack: Stack,
    archive: Archive,
    output: Output,
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
    step = "Reading the archive. EventBridge replays minute by minute; events of the last 10 minutes can be late"
    with (
        output.progress(step),
        open_tap(stack, [pattern], stop, on_cleanup_failure=output.error) as tap,
    ):
        for replay, window in zip(names, windows, strict=True):
            with replaying(
                stack, archive, replay, window, rule_arns=[tap.rule_arn], stop=stop, on_cleanup_failure=output.error
            ):
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
    """Return the failure for events that were not found. `again` is the command line to run with another --since."""
    oldest = archive.oldest(now)
    if searched.start > oldest:
        advice = f"To search the whole archive: {shlex.join([*again, '--since', f'{(now - oldest).days + 1}d'])}"
    else:
        advice = "To check whether deliveries arrive: openai-webhooks doctor"
    text = (
        f"The archive has no event {', '.join(ids)} from {searched}. It keeps events {archive.retention}; the oldest "
        f"can be from {local_time(oldest)}. A new event can take 10 minutes to reach the archive. {advice}"
    )
    return Failed(printable(text, 10_000))


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
