"""Times and durations: read what the user types, and print them."""

import re
from datetime import UTC, datetime, timedelta

from openai_webhooks_cli.shell.errors import CannotRun
from openai_webhooks_cli.shell.printable import printable

DAY = 86_400  # seconds
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


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


def age(seconds: float) -> str:
    """Return a duration in its largest unit, such as `240 ms`, `2.1 s`, `15 min` or `12 d`."""
    for unit, length in (("d", DAY), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds >= 1 else f"{max(0, seconds) * 1000:.0f} ms"


def clock(seconds: float, *, milliseconds: bool = False) -> str:
    """Return a time, given in Unix seconds, on the user's clock."""
    moment = datetime.fromtimestamp(seconds).astimezone()
    return f"{moment:%H:%M:%S}" + (f".{moment.microsecond // 1000:03}" if milliseconds else "")


def local_time(time: datetime) -> str:
    """Return a time on the user's clock, with its date and zone."""
    return f"{time.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def iso_time(seconds: float) -> str:
    """Return a time, given in Unix seconds, in ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
