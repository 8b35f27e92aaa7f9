"""The stack's archive, and replays from it.

A replay sends archived events to the bus again, with a field `replay-name`. EventBridge replays minute by minute, by
the events' times, and keeps no order within a minute. An event can take 10 minutes to reach the archive:
https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-archive.html
"""

import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.shell.errors import CannotRun
from openai_webhooks_cli.shell.output import printable
from openai_webhooks_cli.shell.stop import Stop

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


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
        "make deploy ARGS='--parameter-overrides ArchiveRetentionDays=14'"
    )


def start_replay(
    stack: Stack, archive: Archive, name: str, *, start: datetime, end: datetime, rule_arns: list[str] | None
) -> None:
    """Replay the events of a period, by their time. None for `rule_arns` sends them to every rule on the bus."""
    destination = {"Arn": stack.bus_arn, **({} if rule_arns is None else {"FilterArns": rule_arns})}
    stack.client("events").start_replay(
        ReplayName=name,
        EventSourceArn=archive.arn,
        EventStartTime=start,
        EventEndTime=end,
        Destination=destination,
    )


@contextmanager
def replaying(
    stack: Stack,
    archive: Archive,
    name: str,
    window: Window,
    *,
    rule_arns: list[str] | None,
    stop: Stop,
    on_cleanup_failure: Callable[[str], None],
) -> Iterator[None]:
    """Start a replay, and cancel it at the end of the `with` statement if it still runs.

    `on_cleanup_failure` is called with a command to run if the replay cannot be canceled, or if a second signal ends
    the process before that.
    """
    cancel = f"aws events cancel-replay --replay-name {name} --region {stack.region}"
    advice = f"The replay may still run. To cancel it:\n  {cancel}"
    on_second = stop.on_second

    def report() -> None:
        on_cleanup_failure(advice)
        on_second()

    stop.on_second = report
    try:
        start_replay(stack, archive, name, start=window.start, end=window.end, rule_arns=rule_arns)
    except BotoCoreError:  # no answer, so EventBridge may have started it
        on_cleanup_failure(advice)
        raise
    try:
        yield
    finally:
        try:
            cancel_replay(stack, name)
        except (BotoCoreError, ClientError) as error:
            on_cleanup_failure(f"The replay could not be canceled ({type(error).__name__}). {advice}")
        stop.on_second = on_second


def replay_state(stack: Stack, name: str) -> ReplayState:
    """Return how far a replay is."""
    answer = stack.client("events").describe_replay(ReplayName=name)
    return ReplayState(answer["State"], answer.get("EventLastReplayedTime"), printable(answer.get("StateReason", "")))


def replay_name(stack: Stack) -> str:
    """Return a new name for a replay. It leaves room for a suffix."""
    return f"{stack.name[:40]}-{secrets.token_hex(4)}"


def cancel_replay(stack: Stack, name: str) -> None:
    """Cancel a replay that may have ended."""
    try:
        stack.client("events").cancel_replay(ReplayName=name)
    except ClientError as error:
        if error.response["Error"]["Code"] not in ("IllegalStatusException", "ResourceNotFoundException"):
            raise


def parse_duration(text: str) -> timedelta:
    """Read `90s`, `15m`, `2h` or `1d`. Raises CannotRun."""
    found = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if not found:
        raise CannotRun(f"{printable(text)} is not a duration. Write for instance 90s, 15m, 2h or 1d.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def parse_time(text: str, now: datetime) -> datetime:
    """Read a time: `15m` before now, `09:14` of the last 24 hours (local time), or ISO 8601. Raises CannotRun."""
    try:
        if re.fullmatch(r"\d+[smhd]", text):
            return now - parse_duration(text)
        if found := re.fullmatch(r"(\d\d):(\d\d)(?::(\d\d))?", text):
            hour, minute, second = (int(part or 0) for part in found.groups())
            time = now.astimezone().replace(hour=hour, minute=minute, second=second, microsecond=0)
            return (time if time <= now else time - timedelta(days=1)).astimezone(UTC)
        # A time without an offset is local time.
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise CannotRun(
            f"{printable(text)} is not a time. Write for instance 15m (before now), 09:14, or 2026-11-24T08:00:00Z."
        ) from None


def local_time(time: datetime) -> str:
    """Return a time on the user's clock, with its date."""
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S}"
