"""`openai-webhooks replay`."""

import json
import os
import signal
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from moto.events.models import EventsBackend

from cli.tests.support.event_archive import EventArchive
from cli.tests.support.local_server import LocalServer, Request
from openai_webhooks import decode_secret, verify

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:"


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


def test_30_ids_fit_into_pattern(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    patterns: list[str] = []
    put_rule = EventsBackend.put_rule

    def record(*arguments: Any, **options: Any) -> Any:
        patterns.append(options["event_pattern"])
        return put_rule(*arguments, **options)

    monkeypatch.setattr(EventsBackend, "put_rule", record)
    ids = [archive.publish()["id"] for _ in range(30)]

    result = archive.receiver.run("replay", *ids, "--json")

    assert len(details(result.stdout)) == 30
    assert all(len(pattern) <= 2048 for pattern in patterns)


def test_range_is_bounded_and_sorted(archive: EventArchive) -> None:
    archive.publish(ago=9000)
    second, first = archive.publish(ago=4000), archive.publish("response.completed", ago=5000)
    archive.publish(ago=1000)

    result = archive.receiver.run("replay", "--since=2h", f"--until={utc(time.time() - 3600)}", "--json")

    assert result.exit_code == 0, result.stderr
    assert details(result.stdout) == [first, second]


@pytest.mark.parametrize("types", [["batch.completed"], ["batch.*"], ["batch.completed", "batch.failed"]])
def test_types_select_events_of_range(archive: EventArchive, types: list[str]) -> None:
    event = archive.publish()
    archive.publish("response.completed")

    result = archive.receiver.run("replay", *types, "--since=2h", "--json")

    assert details(result.stdout) == [event]


def test_absent_id_fails_after_the_others(archive: EventArchive) -> None:
    event = archive.publish()

    result = archive.receiver.run("replay", event["id"], "evt_absent", "--json")

    assert result.exit_code == 1
    assert details(result.stdout) == [event]
    assert "openai-webhooks replay evt_absent --to terminal --since 15d" in result.stderr


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
        ["evt_1", "--to=all", "--yes"],
        ["batch.completed", "--since=1h", "--to=all", "--yes"],
        ["evt_1", "--to=ftp://localhost"],
        ["evt_1", "--unsigned", "--as=eventbridge", "--to=http://localhost"],
    ],
    ids=" ".join,
)
def test_unusable_arguments_cannot_run(archive: EventArchive, arguments: list[str]) -> None:
    result = archive.receiver.run("replay", *arguments)

    assert result.exit_code == 2
    assert archive.replays() == []


def test_range_before_retention_says_what_is_missing(archive: EventArchive) -> None:
    event = archive.publish()

    result = archive.receiver.run("replay", "--since=20d", "--json")

    assert result.exit_code == 0
    assert details(result.stdout) == [event]
    assert "14 days" in result.stderr


# ---- To a URL ----


def test_url_gets_signed_deliveries(archive: EventArchive, server: LocalServer) -> None:
    event = archive.publish()
    secret = archive.receiver.run("listen", "--print-secret").stdout.strip()

    result = archive.receiver.run("replay", event["id"], f"--to={server.url}", "--json")

    assert result.exit_code == 0, result.stderr
    [request] = server.requests
    assert json.loads(request.body) == event
    assert request.headers["webhook-id"] == event["id"]
    verify(request.body, request.headers, keys=[decode_secret(secret)], now=int(time.time()))
    assert records(result.stdout, "event")[0]["forward"][0]["status"] == 200


def test_refused_event_fails_and_is_named(archive: EventArchive, server: LocalServer) -> None:
    first, second = archive.publish(ago=3600), archive.publish(ago=3500)
    server.answers = [(500, "broken")]

    result = archive.receiver.run("replay", first["id"], second["id"], f"--to={server.url}")

    assert result.exit_code == 1
    assert len(server.requests) == 2
    assert f"openai-webhooks replay {first['id']} --to {server.url}" in result.stderr


def test_absent_server_cannot_run(archive: EventArchive) -> None:
    result = archive.receiver.run("replay", "--since=1h", "--to=http://127.0.0.1:1")

    assert result.exit_code == 2
    assert archive.replays() == []


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
    rules = archive.receiver.client("events").list_rules(EventBusName=archive.receiver.bus)["Rules"]
    rule = next(rule for rule in rules if "OnBatch" in rule["Name"])

    result = archive.receiver.run("replay", "--since=2h", f"--to={rule['Name']}", "--json")

    assert result.exit_code == 0, result.stderr
    [replay] = archive.replays()
    assert replay["Destination"]["FilterArns"] == [rule["Arn"]]
    assert archive.subscribers() == [event["id"]]
    [record] = records(result.stdout, "replay")
    assert (record["name"], record["state"]) == (replay["ReplayName"], "COMPLETED")


def test_range_goes_to_all_rules_after_confirmation(archive: EventArchive) -> None:
    events = [archive.publish(), archive.publish("response.failed")]

    result = archive.receiver.run("replay", "--since=2h", "--to=all", "--yes")

    assert result.exit_code == 0, result.stderr
    [replay] = archive.replays()
    assert "FilterArns" not in replay["Destination"]
    assert set(archive.subscribers()) == {event["id"] for event in events}


def test_all_rules_need_flag_without_terminal(archive: EventArchive) -> None:
    archive.publish()

    result = archive.receiver.run("replay", "--since=2h", "--to=all")

    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert archive.replays() == []


def test_dry_run_only_prints_plan(archive: EventArchive) -> None:
    assert "evt_1" in archive.receiver.run("replay", "evt_1", "--dry-run").stdout

    result = archive.receiver.run("replay", "--since=2h", "--to=all", "--dry-run", "--json")

    assert result.exit_code == 0
    [plan] = map(json.loads, result.stdout.splitlines())
    assert plan["type"] == "plan"
    assert plan["to"] == "all"
    assert len(plan["rules"]) == 2
    [window] = plan["windows"]
    assert datetime.fromisoformat(window["from"]) < datetime.fromisoformat(window["to"])
    assert archive.replays() == []


@pytest.mark.parametrize(
    ("state", "advice"),
    [("DISABLED", "aws events enable-rule --name useless"), ("ENABLED", "openai-webhooks rules")],
    ids=["disabled", "without target"],
)
def test_useless_rule_cannot_get_range(archive: EventArchive, state: str, advice: str) -> None:
    events, rule = archive.receiver.client("events"), {"Name": "useless", "EventBusName": archive.receiver.bus}
    events.put_rule(**rule, EventPattern='{"source": ["x"]}', State=state)

    result = archive.receiver.run("replay", "--since=2h", "--to=useless")

    events.delete_rule(**rule)
    assert result.exit_code == 2
    assert advice in result.stderr
    assert archive.replays() == []


def test_interrupt_cancels_replay_and_names_the_rest(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    reached = int(time.time()) - 1800
    rules = archive.receiver.client("events").list_rules(EventBusName=archive.receiver.bus)["Rules"]
    rule = next(rule["Name"] for rule in rules if "OnBatch" in rule["Name"])

    def run_and_stop(*_: object) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGINT)
        return {"State": "RUNNING", "EventLastReplayedTime": reached}

    with monkeypatch.context() as patch:
        patch.setattr(EventsBackend, "describe_replay", run_and_stop)
        result = archive.receiver.run("replay", "--since=2h", f"--to={rule}", "--json")

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
