"""Durations and times that users type, and what an archive keeps."""

from datetime import UTC, datetime, timedelta

import pytest

from openai_webhooks_cli.aws.archive import Archive
from openai_webhooks_cli.shell.errors import CannotRun
from openai_webhooks_cli.shell.times import parse_duration, parse_time

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86_400), ("0s", 0), ("999999d", 86_399_913_600)],
)
def test_duration_is_read(text: str, seconds: int) -> None:
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "-1h", "1.5h", "1w", "1h30m", "1000000d"])
def test_duration_is_refused(text: str) -> None:
    with pytest.raises(CannotRun):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("15m", NOW - timedelta(minutes=15)),
        ("2026-11-24T08:00:00Z", datetime(2026, 11, 24, 8, tzinfo=UTC)),
        ("2026-11-24T08:00:00+02:00", datetime(2026, 11, 24, 6, tzinfo=UTC)),
        ("2026-11-24", datetime(2026, 11, 24).astimezone()),  # local time
    ],
)
def test_time_is_read(text: str, time: datetime) -> None:
    assert parse_time(text, NOW) == time


@pytest.mark.parametrize("minutes", [0, 1, 600, -1, -600])
def test_clock_is_of_last_24_hours(minutes: int) -> None:
    moment = NOW.astimezone() - timedelta(minutes=minutes)

    found = parse_time(f"{moment:%H:%M}", NOW)

    assert found <= NOW < found + timedelta(days=1)
    assert (moment - found) % timedelta(days=1) == timedelta()


@pytest.mark.parametrize("text", ["", "soon", "25:00", "9:14", "999999d", "0001-01-01T00:00:00+14:00", "\x1b[2J"])
def test_time_is_refused(text: str) -> None:
    with pytest.raises(CannotRun) as refusal:
        parse_time(text, NOW)
    assert "\x1b" not in str(refusal.value)


@pytest.mark.parametrize(
    ("days", "age", "oldest"), [(14, 30, 14), (14, 3, 3), (0, 30, 30)], ids=["full", "new", "without limit"]
)
def test_archive_keeps_events_since(days: int, age: int, oldest: int) -> None:
    archive = Archive("name", "arn", "ENABLED", days, NOW - timedelta(days=age))

    assert archive.oldest(NOW) == NOW - timedelta(days=oldest)
