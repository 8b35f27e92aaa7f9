"""`openai-webhooks show`."""

import json
import os
import signal
from typing import Any

import pytest
from moto.events.models import EventsBackend, Replay

from cli.tests.support.aws_calls import AwsFaults
from cli.tests.support.deployed_receiver import DeployedReceiver
from cli.tests.support.event_archive import DAY, EventArchive
from openai_webhooks_cli.aws import archive as archive_module
from openai_webhooks_cli.aws.tap import Received


def records(stdout: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stdout.splitlines()]


def test_event_is_printed_for_people(archive: EventArchive) -> None:
    event = archive.publish(data={"id": "batch_\u202e\x1b[2J"})

    result = archive.receiver.run("show", event["id"])

    assert result.exit_code == 0, result.stderr
    assert "batch.completed" in result.stdout
    assert not {"\u202e", "\x1b"} & set(result.stdout)
    assert json.loads(result.stdout[result.stdout.index("{") :]) == event


def test_event_that_cannot_be_read_is_printed(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    event = archive.publish()
    read = property(lambda message: {} if "replay-name" in message.body else json.loads(message.body))
    monkeypatch.setattr(Received, "event", read)

    result = archive.receiver.run("show", event["id"])

    assert result.exit_code == 0
    assert event["id"] in result.stdout


def test_record_is_printed_and_subscribers_get_nothing(archive: EventArchive) -> None:
    event = archive.publish()
    archive.publish()

    result = archive.receiver.run("show", event["id"], "--json")

    assert result.exit_code == 0, result.stderr
    [record] = records(result.stdout)
    assert (record["type"], record["event"]["detail"]) == ("event", event)
    assert "replay-name" in record["event"]
    assert archive.subscribers() == []
    [replay] = archive.replays()
    [rule] = replay["Destination"]["FilterArns"]
    assert "-listen-" in rule


def test_time_in_id_is_searched_first(archive: EventArchive) -> None:
    event = archive.publish(ago=5 * DAY)

    result = archive.receiver.run("show", event["id"], "--json")

    assert result.exit_code == 0, result.stderr
    [replay] = archive.replays()
    start, end = replay["EventStartTime"].timestamp(), replay["EventEndTime"].timestamp()
    assert end - start == 15 * 60
    assert start < event["created_at"] < end


def test_event_with_late_delivery_is_found(archive: EventArchive) -> None:
    hint = archive.publish(ago=20 * 3600)["id"][:12]
    event = archive.publish(ago=3600, id=f"{hint}0000")

    result = archive.receiver.run("show", event["id"], "--json")

    assert result.exit_code == 0, result.stderr
    assert len(archive.replays()) == 2
    assert [record["event"]["detail"] for record in records(result.stdout)] == [event]


@pytest.mark.parametrize(
    "event_id", ["evt_abc123", "evt_ffffffff00", "evt_0000000100"], ids=["no time", "future", "old"]
)
def test_implausible_time_in_id_is_ignored(archive: EventArchive, event_id: str) -> None:
    archive.publish(ago=3600, id=event_id)

    result = archive.receiver.run("show", event_id, "--json", "--since=2h")

    assert result.exit_code == 0, result.stderr
    [replay] = archive.replays()
    assert (replay["EventEndTime"] - replay["EventStartTime"]).total_seconds() == 2 * 3600


def test_at_searches_two_minutes(archive: EventArchive) -> None:
    event = archive.publish(ago=3600)

    result = archive.receiver.run("show", event["id"], "--json", "--at=1h")

    assert result.exit_code == 0, result.stderr
    [replay] = archive.replays()
    assert (replay["EventEndTime"] - replay["EventStartTime"]).total_seconds() == 120


def test_event_that_arrives_twice_is_printed_once(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    replay_once = Replay.replay_events
    monkeypatch.setattr(Replay, "replay_events", lambda *given: [replay_once(*given) for _ in range(2)])
    event = archive.publish()

    result = archive.receiver.run("show", event["id"], "--json")

    assert [record["event"]["detail"] for record in records(result.stdout)] == [event]


def test_copies_are_printed_once_each(archive: EventArchive) -> None:
    event = archive.publish(ago=3600)
    archive.publish(ago=3590, **event)

    result = archive.receiver.run("show", event["id"], "--json")

    first, second = records(result.stdout)
    assert first["event"]["detail"] == second["event"]["detail"] == event
    assert first["event"]["time"] < second["event"]["time"]


@pytest.mark.parametrize(
    ("since", "advice"),
    [("24h", "openai-webhooks show evt_absent --since 15d"), ("15d", "openai-webhooks doctor")],
    ids=["part", "whole archive"],
)
def test_absent_event_fails_and_names_next_command(archive: EventArchive, since: str, advice: str) -> None:
    archive.publish()

    result = archive.receiver.run("show", "evt_absent", "--json", f"--since={since}")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "14 days" in result.stderr
    assert advice in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [["wh_abc"], ["evt_1", "--since=soon"], ["evt_1", "--since=999999d"], ["evt_1", "--at=2999-01-01T00:00:00Z"]],
    ids=["delivery", "no time", "before year 1", "future"],
)
def test_unusable_arguments_cannot_run(archive: EventArchive, arguments: list[str]) -> None:
    result = archive.receiver.run("show", *arguments)

    assert result.exit_code == 2
    assert archive.replays() == []


def test_stack_without_archive_cannot_run(receiver: DeployedReceiver) -> None:
    result = receiver.run("show", "evt_1")

    assert result.exit_code == 2
    assert "ArchiveRetentionDays" in result.stderr


def test_failed_replay_fails(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventsBackend, "describe_replay", lambda *_: {"State": "FAILED", "StateReason": "Gremlins"})

    result = archive.receiver.run("show", "evt_1")

    assert result.exit_code == 1
    assert "Gremlins" in result.stderr


def test_long_replay_renews_lease(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter(["STARTING", "RUNNING", "RUNNING", "COMPLETED"])
    monkeypatch.setattr(EventsBackend, "describe_replay", lambda *_: {"State": next(states)})
    monkeypatch.setattr(archive_module, "RENEWAL", 0)
    calls = AwsFaults(monkeypatch)

    result = archive.receiver.run("show", "evt_1")

    assert result.exit_code == 1
    assert calls.count("PutRule") > 4


def test_denied_replay_cannot_run_and_tap_is_removed(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    AwsFaults(monkeypatch).fail("StartReplay", "AccessDeniedException")

    result = archive.receiver.run("show", "evt_1")

    assert result.exit_code == 2
    assert "openai-webhooks iam show" in result.stderr
    assert "cancel-replay" not in result.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_cancels_replay(archive: EventArchive, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    def run_and_stop(*_: object) -> dict[str, Any]:
        os.kill(os.getpid(), number)
        return {"State": "RUNNING"}

    with monkeypatch.context() as patch:
        patch.setattr(EventsBackend, "describe_replay", run_and_stop)
        result = archive.receiver.run("show", "evt_1")

    assert result.exit_code == 128 + number
    assert [replay["State"] for replay in archive.replays()] == ["CANCELLED"]


def test_replay_that_cannot_be_canceled_is_named(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    AwsFaults(monkeypatch).fail("CancelReplay", "InternalException")
    event = archive.publish()

    result = archive.receiver.run("show", event["id"])

    [replay] = archive.replays()
    assert f"aws events cancel-replay --replay-name {replay['ReplayName']}" in result.stderr
