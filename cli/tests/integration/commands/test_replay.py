"""`openai-webhooks replay`."""

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from moto.events.models import EventsBackend

from cli.tests.support.aws_calls import AwsCall, AwsFaults
from cli.tests.support.deployed_receiver import DeployedReceiver
from cli.tests.support.event_archive import EventArchive, event_archive
from cli.tests.support.local_server import LocalServer, Request
from openai_webhooks import decode_secret, verify

FUNCTION = "arn:aws:lambda:us-east-1:123456789012:function:"


@pytest.fixture
def archive(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[EventArchive]:
    with event_archive(receiver, monkeypatch) as archive:
        yield archive


@pytest.fixture
def rule(receiver: DeployedReceiver) -> Iterator["Rule"]:
    """A rule for batches with two functions. moto cannot publish events that it matches."""
    events = receiver.client("events")
    events.put_rule(
        Name="two-functions", EventBusName=receiver.bus, EventPattern='{"detail-type": [{"prefix": "batch."}]}'
    )
    created = Rule(events, receiver.bus)
    yield created
    events.remove_targets(Rule="two-functions", EventBusName=receiver.bus, Ids=["0", "1"])
    events.delete_rule(Name="two-functions", EventBusName=receiver.bus)


class Rule:
    """The rule, without targets until all events are published."""

    def __init__(self, events: Any, bus: str) -> None:
        self._events = events
        self._bus = bus

    def target(self, *arns: str) -> None:
        targets = [{"Id": str(number), "Arn": arn} for number, arn in enumerate(arns)]
        self._events.put_targets(Rule="two-functions", EventBusName=self._bus, Targets=targets)


def invocations(calls: list[AwsCall]) -> list[tuple[str, str, Any]]:
    """Return what Lambda was asked to do: function, kind of invocation, payload."""
    return [
        (call.parameters["FunctionName"], call.parameters["InvocationType"], json.loads(call.parameters["Payload"]))
        for call in calls
        if call.operation == "Invoke"
    ]


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


def test_row_names_type_and_id(archive: EventArchive) -> None:
    event = archive.publish()

    result = archive.receiver.run("replay", event["id"])

    assert "batch.completed" in result.stdout
    assert event["id"] in result.stdout


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


def test_file_goes_to_url_without_aws(archive: EventArchive, server: LocalServer, tmp_path: Path) -> None:
    event = archive.publish()
    lines = tmp_path / "lines.ndjson"
    shown = archive.receiver.run("show", event["id"], "--json").stdout
    envelope = json.dumps(json.loads(shown)["event"])
    lines.write_text(f'{{"type":"ready"}}\n{shown}\n{envelope}\n{{"type":"closed","removed":true}}\n')

    result = archive.receiver.run(
        "replay", f"--from={lines}", f"--to={server.url}/hook", AWS_ENDPOINT_URL="http://[::1]:1"
    )

    assert result.exit_code == 0, result.stderr
    assert [json.loads(request.body) for request in server.requests] == [event, event]


def test_standard_input_is_read(archive: EventArchive) -> None:
    line = archive.receiver.run("show", archive.publish()["id"], "--json").stdout

    result = archive.receiver.run("replay", "--from=-", "--json", input=line)

    assert records(result.stdout, "event") == [json.loads(line)]


@pytest.mark.parametrize("content", ["", '{"type":"ready"}', "[]", "no JSON", "[" * 100_000], ids=str)
def test_file_without_events_cannot_run(receiver: DeployedReceiver, content: str) -> None:
    result = receiver.run("replay", "--from=-", input=content)

    assert result.exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["batch.completed"],
        ["evt_1", "batch.completed"],
        [f"evt_{number}" for number in range(31)],
        ["evt_1", "--from=-"],
        ["--from=-", "--since=1h"],
        ["--since=1h", "--until=2h"],
        ["--since=1h", "--at=1h"],
        ["at sign@", "--since=1h"],
        ["--since=90d", "--until=80d"],
        ["--since=1h", "--to=no-such-rule"],
        ["--from=/no/such/file"],
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


def test_stack_without_archive_cannot_run(receiver: DeployedReceiver) -> None:
    result = receiver.run("replay", "--since=1h", "--to=all", "--yes")

    assert result.exit_code == 2
    assert "ArchiveRetentionDays" in result.stderr


# ---- To a URL ----


def test_url_gets_signed_deliveries(archive: EventArchive, server: LocalServer) -> None:
    event = archive.publish()
    secret = archive.receiver.run("listen", "--print-secret").stdout.strip()

    result = archive.receiver.run("replay", event["id"], f"--to={server.url}", "-H", "x-test: 1", "--json")

    assert result.exit_code == 0, result.stderr
    [request] = server.requests
    assert json.loads(request.body) == event
    assert request.headers["webhook-id"] == event["id"]
    assert request.headers["x-test"] == "1"
    verify(request.body, request.headers, keys=[decode_secret(secret)], now=int(time.time()))
    assert records(result.stdout, "event")[0]["forward"][0]["status"] == 200


def test_url_gets_envelope(archive: EventArchive, server: LocalServer) -> None:
    event = archive.publish()

    archive.receiver.run("replay", event["id"], f"--to={server.url}", "--as=eventbridge")

    envelope = json.loads(server.requests[0].body)
    assert envelope["detail"] == event
    assert "replay-name" in envelope


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
    result = archive.receiver.run("replay", "--since=2h", "--to=all", "--dry-run", "--json")

    assert result.exit_code == 0
    [plan] = map(json.loads, result.stdout.splitlines())
    assert plan["type"] == "plan"
    assert plan["to"] == "all"
    assert len(plan["rules"]) == 4
    [window] = plan["windows"]
    assert datetime.fromisoformat(window["from"]) < datetime.fromisoformat(window["to"])
    assert archive.replays() == []


def test_dry_run_prints_plan_for_people(archive: EventArchive) -> None:
    result = archive.receiver.run("replay", "evt_1", "--dry-run")

    assert result.exit_code == 0
    assert "evt_1" in result.stdout


def test_disabled_rule_cannot_get_range(archive: EventArchive, rule: Rule) -> None:
    events, bus = archive.receiver.client("events"), archive.receiver.bus
    events.disable_rule(Name="two-functions", EventBusName=bus)

    result = archive.receiver.run("replay", "--since=2h", "--to=two-functions")

    assert result.exit_code == 2
    assert "aws events enable-rule --name two-functions" in result.stderr
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


def test_failed_replay_fails(archive: EventArchive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventsBackend, "describe_replay", lambda *_: {"State": "FAILED", "StateReason": "Gremlins"})

    result = archive.receiver.run("replay", "--since=2h", "--to=all", "--yes")

    assert result.exit_code == 1
    assert "Gremlins" in result.stderr


def test_chosen_event_invokes_functions(archive: EventArchive, rule: Rule, calls: list[AwsCall]) -> None:
    event = archive.publish()
    rule.target(f"{FUNCTION}one", f"{FUNCTION}two:live")

    result = archive.receiver.run("replay", event["id"], "--to=two-functions", "--json")

    assert result.exit_code == 0, result.stderr
    assert [(function, kind) for function, kind, _ in invocations(calls)] == [
        (f"{FUNCTION}one", "Event"),
        (f"{FUNCTION}two:live", "Event"),
    ]
    for _, _, payload in invocations(calls):
        assert payload["detail"] == event
        assert payload["replay-name"] == archive.replays()[0]["ReplayName"]
    [record] = records(result.stdout, "event")
    assert [answer["status"] for answer in record["forward"]] == [202, 202]
    assert archive.subscribers() == []


def test_event_that_rule_does_not_match_is_not_sent(archive: EventArchive, rule: Rule, calls: list[AwsCall]) -> None:
    batch, response = archive.publish(), archive.publish("response.completed")
    rule.target(f"{FUNCTION}one")

    both = archive.receiver.run("replay", batch["id"], response["id"], "--to=two-functions")
    alone = archive.receiver.run("replay", response["id"], "--to=two-functions")

    assert (both.exit_code, alone.exit_code) == (0, 1)
    assert response["id"] in both.stderr
    assert [payload["detail"] for _, _, payload in invocations(calls)] == [batch]


def test_refused_invocation_fails(archive: EventArchive, rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    event = archive.publish()
    rule.target(f"{FUNCTION}one")
    AwsFaults(monkeypatch).fail("Invoke", "ResourceNotFoundException")

    result = archive.receiver.run("replay", event["id"], "--to=two-functions", "--json")

    assert result.exit_code == 1
    [record] = records(result.stdout, "event")
    assert record["forward"][0]["status"] == 400
    assert f"openai-webhooks replay {event['id']} --to two-functions" in result.stderr


def test_denied_invocation_cannot_run(archive: EventArchive, rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    event = archive.publish()
    rule.target(f"{FUNCTION}one")
    AwsFaults(monkeypatch).fail("Invoke", "AccessDeniedException")

    result = archive.receiver.run("replay", event["id"], "--to=two-functions")

    assert result.exit_code == 2
    assert "openai-webhooks iam replay" in result.stderr


def test_rule_without_target_cannot_run(archive: EventArchive, rule: Rule) -> None:
    result = archive.receiver.run("replay", "evt_1", "--to=two-functions")

    assert result.exit_code == 2
    assert "openai-webhooks rules" in result.stderr


def test_ids_from_payload_are_quoted(receiver: DeployedReceiver, server: LocalServer) -> None:
    server.answers = [(500, "")]
    envelope = {"detail-type": "batch.completed", "detail": {"id": "$(reboot)\x1b"}}

    result = receiver.run("replay", "--from=-", f"--to={server.url}", input=json.dumps(envelope))

    assert result.exit_code == 1
    assert "'$(reboot)\N{REPLACEMENT CHARACTER}'" in result.stderr


def test_chosen_event_cannot_go_to_other_targets(archive: EventArchive, rule: Rule) -> None:
    rule.target(f"{FUNCTION}one", "arn:aws:sqs:us-east-1:123456789012:queue")

    result = archive.receiver.run("replay", "evt_1", "--to=two-functions")

    assert result.exit_code == 2
    assert "openai-webhooks replay --since TIME --to two-functions" in result.stderr
    assert archive.replays() == []
