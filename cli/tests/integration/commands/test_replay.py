"""`openai-webhooks replay`."""

import json
import os
import signal
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from moto.events.models import EventsBackend

from cli.tests.support.aws_calls import AwsCall
from cli.tests.support.event_archive import EventArchive
from cli.tests.support.local_server import LocalServer, Request
from openai_webhooks import decode_secret, verify


def records(stdout: str, kind: str) -> list[dict[str, Any]]:
    return [record for record in map(json.loads, stdout.splitlines()) if record["type"] == kind]


def details(stdout: str) -> list[dict[str, Any]]:
    return [record["event"]["detail"] for record in records(stdout, "event")]


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


# ---- What is replayed ----


def test_ids_go_to_terminal_and_to_no_subscriber(archive: EventArchive) -> None:
    second, first = archive.publish(ago=3000), archive.publish(ago=3300)
    archive.publish(ago=3100)

    result = archive.receiver.run("replay", second["id"], first["id"], "--json")

    assert result.exit_code == 0, result.stderr
    assert details(result.stdout) == [first, second]
    assert archive.subscribers() == []


def test_absent_id_fails_after_the_others(archive: EventArchive) -> None:
    event = archive.publish()

    result = archive.receiver.run("replay", event["id"], "evt_absent", "--json")

    assert result.exit_code == 1
    assert details(result.stdout) == [event]
    assert "openai-webhooks replay evt_absent --to terminal --since 15d" in result.stderr


def test_30_ids_fit_into_pattern(archive: EventArchive, calls: list[AwsCall]) -> None:
    ids = [archive.publish()["id"]] + [f"evt_{number:08x}{'f' * 24}" for number in range(29)]

    archive.receiver.run("replay", *ids)

    patterns = [call.parameters["EventPattern"] for call in calls if call.operation == "PutRule"]
    assert all(ids[-1] in pattern and len(pattern) <= 2048 for pattern in patterns)
    assert patterns


@pytest.mark.parametrize("types", [[], ["batch.*"], ["batch.completed", "batch.failed"]], ids=" ".join)
def test_types_select_events_of_range(archive: EventArchive, types: list[str]) -> None:
    archive.publish(ago=9000)
    second, first = archive.publish(ago=4000), archive.publish("batch.failed", ago=5000)
    other = archive.publish("response.completed", ago=4500)
    archive.publish(ago=1000)

    result = archive.receiver.run("replay", *types, "--since=2h", f"--until={utc(time.time() - 3600)}", "--json")

    assert result.exit_code == 0, result.stderr
    assert details(result.stdout) == ([first, second] if types else [first, other, second])


def test_range_before_retention_says_what_is_missing(archive: EventArchive) -> None:
    event = archive.publish()

    result = archive.receiver.run("replay", "--since=20d", "--json")

    assert result.exit_code == 0
    assert details(result.stdout) == [event]
    assert "14 days" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["batch.completed"],
        ["evt_1", "batch.completed"],
        [f"evt_{number}" for number in range(31)],
        ["--since=1h", "--until=2h"],
        ["--since=1h", "--at=1h"],
        ["at sign@", "--since=1h"],
        ["--since=90d", "--until=80d"],
        ["--since=1h", "--to=no-such-rule"],
        ["evt_1", "--to=a-rule"],
        ["batch.completed", "--since=1h", "--to=all", "--yes"],
        ["evt_1", "--to=ftp://localhost"],
        ["evt_1", "--unsigned", "--as=eventbridge", "--to=http://localhost"],
        ["--since=1h", "--to=http://127.0.0.1:1"],
        ["--since=1h", "--to=all"],
    ],
    ids=" ".join,
)
def test_unusable_arguments_cannot_run(archive: EventArchive, arguments: list[str]) -> None:
    result = archive.receiver.run("replay", *arguments)

    assert result.exit_code == 2
    assert archive.replays() == []


# ---- To a URL ----


def test_url_gets_signed_deliveries_and_refused_one_is_named(archive: EventArchive, server: LocalServer) -> None:
    first, second = archive.publish(ago=3600), archive.publish(ago=3500)
    server.answers = [(500, "broken")]
    secret = archive.receiver.run("listen", "--print-secret").stdout.strip()

    result = archive.receiver.run("replay", first["id"], second["id"], f"--to={server.url}", "--json")

    assert result.exit_code == 1
    assert [event["forward"][0]["status"] for event in records(result.stdout, "event")] == [500, 200]
    assert f"openai-webhooks replay {first['id']} --to {server.url}" in result.stderr
    for event, request in zip([first, second], server.requests, strict=True):
        assert json.loads(request.body) == event
        assert request.headers["webhook-id"] == event["id"]
        verify(request.body, request.headers, keys=[decode_secret(secret)], now=int(time.time()))


def test_interrupt_stops_while_server_hangs(archive: EventArchive, server: LocalServer) -> None:
    class Requests(list[Request]):
        def append(self, request: Request) -> None:
            super().append(request)
            os.kill(os.getpid(), signal.SIGINT)

    event = archive.publish()
    server.requests, server.hangs = Requests(), True

    result = archive.receiver.run("replay", event["id"], f"--to={server.url}")

    assert result.exit_code == 130
    assert len(server.requests) == 1


# ---- To rules ----


def test_range_goes_to_rule_by_filter(archive: EventArchive) -> None:
    event = archive.publish()
    archive.publish("response.failed")
    rule = archive.receiver.rule("OnBatch")

    result = archive.receiver.run("replay", "--since=2h", f"--to={rule['Name']}", "--json")

    assert result.exit_code == 0, result.stderr
    [replay] = archive.replays()
    assert replay["Destination"]["FilterArns"] == [rule["Arn"]]
    assert archive.subscribers() == [event["id"]]
    [record] = records(result.stdout, "replay")
    assert (record["name"], record["state"]) == (replay["ReplayName"], "COMPLETED")


def test_range_goes_to_all_rules(archive: EventArchive) -> None:
    events = [archive.publish(), archive.publish("response.failed")]

    result = archive.receiver.run("replay", "--since=2h", "--to=all", "--yes")

    assert result.exit_code == 0, result.stderr
    [replay] = archive.replays()
    assert "FilterArns" not in replay["Destination"]
    assert set(archive.subscribers()) == {event["id"] for event in events}


def test_dry_run_only_prints_plan(archive: EventArchive) -> None:
    assert "evt_1" in archive.receiver.run("replay", "evt_1", "--dry-run").stdout

    result = archive.receiver.run("replay", "--since=2h", "--to=all", "--dry-run", "--json")

    assert result.exit_code == 0
    [plan] = map(json.loads, result.stdout.splitlines())
    assert (plan["type"], plan["to"], len(plan["rules"])) == ("plan", "all", 2)
    [window] = plan["windows"]
    assert datetime.fromisoformat(window["from"]) < datetime.fromisoformat(window["to"])
    assert archive.replays() == []


@pytest.mark.parametrize(
    ("state", "advice"),
    [("DISABLED", "aws events enable-rule --name useless"), ("ENABLED", "openai-webhooks rules")],
    ids=["disabled", "without target"],
)
def test_useless_rule_cannot_get_range(archive: EventArchive, state: str, advice: str) -> None:
    events, bus = archive.receiver.client("events"), archive.receiver.bus
    events.put_rule(Name="useless", EventBusName=bus, EventPattern='{"source": ["x"]}', State=state)

    result = archive.receiver.run("replay", "--since=2h", "--to=useless")

    assert result.exit_code == 2
    assert advice in result.stderr
    assert archive.replays() == []


def test_interrupt_cancels_replay_and_names_the_rest(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = int(time.time()) - 1800

    def run_and_stop(*_: object) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGINT)
        return {"State": "RUNNING", "EventLastReplayedTime": reached}

    with monkeypatch.context() as patch:
        patch.setattr(EventsBackend, "describe_replay", run_and_stop)
        result = archive.receiver.run("replay", "--since=2h", "--to=all", "--yes", "--json")

    assert result.exit_code == 130
    assert [replay["State"] for replay in archive.replays()] == ["CANCELLED"]
    [record] = records(result.stdout, "replay")
    assert datetime.fromisoformat(record["replayed_until"]).timestamp() == reached
    assert f"openai-webhooks replay --since {utc(reached)} --until" in result.stderr


@pytest.mark.parametrize("state", ["FAILED", "CANCELLED"])
def test_replay_that_ends_early_fails(archive: EventArchive, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    monkeypatch.setattr(EventsBackend, "describe_replay", lambda *_: {"State": state, "StateReason": "Gremlins"})

    result = archive.receiver.run("replay", "--since=2h", "--to=all", "--yes")

    assert result.exit_code == 1
    assert "Gremlins" in result.stderr
