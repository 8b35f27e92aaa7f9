"""`openai-webhooks show`."""

import json
import os
import signal
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from moto.events.models import EventsBackend, Replay

from cli.tests.support.aws_calls import AwsCall, AwsFaults, record_calls
from cli.tests.support.deployed_receiver import DeployedReceiver
from cli.tests.support.event_archive import DAY, EventArchive
from openai_webhooks_cli.aws import archive as archive_module
from openai_webhooks_cli.aws.tap import Received


def shown(archive: EventArchive, *arguments: str) -> list[dict[str, Any]]:
    """Return the events that `show --json` prints."""
    result = archive.receiver.run("show", *arguments, "--json")
    assert result.exit_code == 0, result.stderr
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert {record["type"] for record in records} == {"event"}
    return [record["event"] for record in records]


def test_event_is_printed_and_reaches_no_subscriber(archive: EventArchive) -> None:
    event = archive.publish(data={"id": "batch_\u202e\x1b[2J"})
    archive.publish()

    result = archive.receiver.run("show", event["id"])

    assert result.exit_code == 0, result.stderr
    assert "batch.completed" in result.stdout
    assert not {"\u202e", "\x1b"} & set(result.stdout)
    assert json.loads(result.stdout[result.stdout.index("{") :]) == event
    assert "cancel-replay" not in result.stderr
    assert archive.subscribers() == []
    [replay] = archive.replays()
    [rule] = replay["Destination"]["FilterArns"]
    assert "-listen-" in rule


def test_event_that_cannot_be_read_is_printed(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    event = archive.publish()
    read = property(lambda message: {} if "replay-name" in message.body else json.loads(message.body))
    monkeypatch.setattr(Received, "event", read)

    result = archive.receiver.run("show", event["id"])

    assert result.exit_code == 0
    assert event["id"] in result.stdout


# ---- Where it searches ----


def test_time_in_id_is_searched_first(archive: EventArchive) -> None:
    event = archive.publish(ago=5 * DAY)

    assert [copy["detail"] for copy in shown(archive, event["id"])] == [event]

    [replay] = archive.replays()
    start, end = replay["EventStartTime"].timestamp(), replay["EventEndTime"].timestamp()
    assert end - start == 15 * 60
    assert start < event["created_at"] < end


def test_event_with_late_delivery_is_found(archive: EventArchive) -> None:
    hint = archive.publish(ago=20 * 3600)["id"][:12]
    event = archive.publish(ago=3600, id=f"{hint}0000")

    assert [copy["detail"] for copy in shown(archive, event["id"])] == [event]

    assert len(archive.replays()) == 2


@pytest.mark.parametrize(
    ("event_id", "option", "seconds"),
    [
        pytest.param("evt_abc123", "--since=2h", 7200, id="no time in the id"),
        pytest.param("evt_ffffffff00", "--since=2h", 7200, id="future time in the id"),
        pytest.param("evt_0000000100", "--since=2h", 7200, id="old time in the id"),
        pytest.param("evt_abc123", "--at=1h", 120, id="minute before and after a time"),
    ],
)
def test_period_is_searched(archive: EventArchive, event_id: str, option: str, seconds: int) -> None:
    archive.publish(ago=3600, id=event_id)

    assert shown(archive, event_id, option)

    [replay] = archive.replays()
    assert (replay["EventEndTime"] - replay["EventStartTime"]).total_seconds() == seconds


def test_copies_are_printed_once_each_although_they_arrive_twice(
    archive: EventArchive, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay_once = Replay.replay_events
    monkeypatch.setattr(Replay, "replay_events", lambda *given: [replay_once(*given) for _ in range(2)])
    event = archive.publish(ago=3600)
    archive.publish(ago=3590, **event)

    first, second = shown(archive, event["id"])

    assert first["detail"] == second["detail"] == event
    assert first["time"] < second["time"]


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


# ---- What cannot run, and replays that fail ----


@pytest.mark.parametrize(
    "arguments",
    [
        *(["wh_abc"], [""], ["batch_123"]),
        *(["evt_1", option] for option in ("--since=soon", "--since=999999d", "--at=2999-01-01T00:00:00Z")),
    ],
    ids=["delivery", "empty", "object", "no time", "before year 1", "future"],
)
def test_unusable_arguments_cannot_run(archive: EventArchive, arguments: list[str]) -> None:
    result = archive.receiver.run("show", *arguments)

    assert result.exit_code == 2
    assert archive.replays() == []


def test_stack_without_archive_cannot_run(receiver: DeployedReceiver) -> None:
    result = receiver.run("show", "evt_1")

    assert result.exit_code == 2
    assert "ArchiveRetentionDays" in result.stderr


def test_denied_replay_cannot_run_and_tap_is_removed(archive: EventArchive, faults: AwsFaults) -> None:
    faults.fail("StartReplay", "AccessDeniedException")

    result = archive.receiver.run("show", "evt_1")

    assert result.exit_code == 2
    assert "openai-webhooks iam show" in result.stderr
    assert "cancel-replay" not in result.stderr


def test_failed_replay_fails(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventsBackend, "describe_replay", lambda *_: {"State": "FAILED", "StateReason": "Gremlins"})

    result = archive.receiver.run("show", "evt_1")

    assert result.exit_code == 1
    assert "Gremlins" in result.stderr


def test_long_replay_renews_lease(archive: EventArchive, faults: AwsFaults, monkeypatch: pytest.MonkeyPatch) -> None:
    states = iter(["STARTING", "RUNNING", "RUNNING", "COMPLETED"])
    monkeypatch.setattr(EventsBackend, "describe_replay", lambda *_: {"State": next(states)})
    monkeypatch.setattr(archive_module, "RENEWAL", 0)

    archive.receiver.run("show", "evt_1")

    assert faults.count("PutRule") > 4


def test_signal_cancels_replay(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_and_stop(*_: object) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {"State": "RUNNING"}

    with monkeypatch.context() as patch:
        patch.setattr(EventsBackend, "describe_replay", run_and_stop)
        result = archive.receiver.run("show", "evt_1")

    assert result.exit_code == 128 + signal.SIGTERM
    assert [replay["State"] for replay in archive.replays()] == ["CANCELLED"]


def test_replay_that_cannot_be_canceled_is_named(archive: EventArchive, faults: AwsFaults) -> None:
    faults.fail("CancelReplay", "InternalException")
    event = archive.publish()

    result = archive.receiver.run("show", event["id"])

    [replay] = archive.replays()
    assert f"aws events cancel-replay --replay-name {replay['ReplayName']}" in result.stderr


def test_replay_that_started_perhaps_is_named(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    def time_out(call: AwsCall) -> None:
        if call.operation == "StartReplay":
            raise ReadTimeoutError(endpoint_url="https://events.us-east-1.amazonaws.com")

    record_calls(monkeypatch, time_out)

    result = archive.receiver.run("show", "evt_1")

    assert result.exit_code == 2
    assert "aws events cancel-replay --replay-name openai-webhooks-" in result.stderr


def test_second_signal_names_replay_and_tap(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_and_stop_twice(*_: object) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        return {"State": "RUNNING"}

    exits: list[int] = []
    monkeypatch.setattr(os, "_exit", exits.append)
    monkeypatch.setattr(EventsBackend, "describe_replay", run_and_stop_twice)

    result = archive.receiver.run("show", "evt_1")

    assert exits == [128 + signal.SIGTERM]
    assert "aws events cancel-replay --replay-name openai-webhooks-" in result.stderr
    assert "aws events delete-rule --name openai-webhooks-listen-" in result.stderr
