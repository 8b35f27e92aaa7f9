"""`openai-webhooks listen`: its options, what it shows and forwards, and its failures."""

import json
import stat
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from openai import OpenAI
from standardwebhooks import Webhook
from typer.testing import Result

from cli.tests.support.aws_calls import AwsFaults
from cli.tests.support.deployed_receiver import DeployedReceiver
from cli.tests.support.event_archive import EventArchive
from cli.tests.support.local_server import LocalServer
from openai_webhooks_cli.aws import tap
from openai_webhooks_cli.commands import forwarding, listen, listen_session
from openai_webhooks_cli.commands.listen_page import LivePage
from tests.support.background import wait_until


class Listening:
    """`listen` in a thread, with --json unless it is `for_people`. `publish` waits until it is ready."""

    def __init__(self, receiver: DeployedReceiver, *arguments: str, for_people: bool = False) -> None:
        self._receiver = receiver
        self._ready = False
        self._results: list[Result] = []
        command = ["listen", *([] if for_people else ["--json"]), *arguments]
        self._thread = threading.Thread(target=lambda: self._results.append(receiver.run(*command)), daemon=True)
        self._thread.start()

    def publish(self, event_type: str = "batch.completed", **detail: Any) -> dict[str, Any]:
        self.wait_for_tap()
        return self._receiver.publish(event_type, **detail)

    def wait_for_tap(self) -> None:
        self._ready = self._ready or wait_until(self._has_target, "a tap")

    def result(self) -> Result:
        self._thread.join(60)
        return self._results[0]

    def records(self) -> list[dict[str, Any]]:
        result = self.result()
        assert result.exit_code == 0, result.output
        return lines(result)

    def events(self) -> list[dict[str, Any]]:
        return [record for record in self.records() if record["type"] == "event"]

    def _has_target(self) -> bool:
        events, bus = self._receiver.client("events"), self._receiver.bus
        rules = [r["Name"] for r in events.list_rules(EventBusName=bus)["Rules"] if "-listen-" in r["Name"]]
        return any(events.list_targets_by_rule(Rule=rule, EventBusName=bus)["Targets"] for rule in rules)


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


# ---- What it shows ----


def test_live_event_is_one_record(receiver: DeployedReceiver) -> None:
    listening = Listening(receiver, "--max=1")
    event = listening.publish()

    ready, shown, closed = listening.records()

    assert ready["type"] == "ready"
    assert shown["event"]["detail"] == event
    assert closed == {"type": "closed", "removed": True}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(["batch.failed"], ["batch.failed"], id="type"),
        pytest.param(["batch.*"], ["batch.completed", "batch.failed"], id="prefix"),
        pytest.param(["response.failed", "batch.failed"], ["batch.failed", "response.failed"], id="two types"),
        pytest.param(
            ["--where=data.id=resp_abc123", "--where=data.id=another"],
            ["response.failed", "response.completed"],
            id="field",
        ),
        pytest.param(["--rule=OnFailure"], ["batch.failed", "response.failed"], id="rule"),
    ],
)
def test_filter_selects_events(receiver: DeployedReceiver, arguments: list[str], expected: list[str]) -> None:
    if "--rule=OnFailure" in arguments:
        rules = receiver.client("events").list_rules(EventBusName=receiver.bus)["Rules"]
        [name] = [rule["Name"] for rule in rules if "OnFailure" in rule["Name"]]
        arguments = [f"--rule={name}"]
    listening = Listening(receiver, *arguments, f"--max={len(expected)}")
    for event_type in ("batch.completed", "batch.failed", "response.failed", "response.completed"):
        listening.publish(event_type)

    assert [event["event"]["detail-type"] for event in listening.events()] == expected


def test_row_has_type_id_and_ages(receiver: DeployedReceiver) -> None:
    listening = Listening(receiver, "--max=1", for_people=True)
    listening.publish(id="evt_row")

    output = listening.result().stdout

    assert "batch.completed" in output
    assert "evt_row" in output
    assert "after OpenAI" in output
    assert "after the bus" in output


def test_duration_ends_session(receiver: DeployedReceiver) -> None:
    assert [record["type"] for record in Listening(receiver, "--for=1s").records()] == ["ready", "closed"]


HOSTILE = {
    "terminal escape": "\x1b]0;owned\x07\x1b[2J",
    "C1 control": "\x9b31m",
    "direction override": "\u202e",
    "lone surrogate": "\ud800",
    "line break": "a\nb\rc\u2028d",
}


def test_hostile_text_does_not_act_on_terminal(receiver: DeployedReceiver) -> None:
    listening = Listening(receiver, f"--max={len(HOSTILE)}", for_people=True)
    for text in HOSTILE.values():
        listening.publish(id=text)

    rows = [line for line in listening.result().stdout.split("\n") if line]

    assert ["batch.completed" in row and row.isprintable() for row in rows] == [True] * len(HOSTILE)


def test_hostile_text_stays_in_record(receiver: DeployedReceiver) -> None:
    text = "".join(HOSTILE.values())
    listening = Listening(receiver, "--max=1")
    listening.publish(id=text)

    result = listening.result()

    assert result.stdout.isascii()
    assert lines(result)[1]["event"]["detail"]["id"] == text


def test_deep_and_large_events_are_shown(receiver: DeployedReceiver) -> None:
    nested: Any = "deep"
    for _ in range(900):
        nested = {"n": nested}
    data = [nested, {"text": "x" * 1_000_000}]
    listening = Listening(receiver, "--max=2")
    for value in data:
        listening.publish(data=value)

    assert [event["event"]["detail"]["data"] for event in listening.events()] == data


def test_past_events_are_shown_too(archive: EventArchive) -> None:
    past = archive.publish()
    listening = Listening(archive.receiver, "--since=2h", "--max=2")
    live = listening.publish()

    shown = [event["event"]["detail"] for event in listening.events()]

    assert sorted(shown, key=lambda event: event["created_at"]) == [past, live]
    [replay] = archive.replays()
    assert "-listen-" in replay["Destination"]["FilterArns"][0]


def test_replay_of_others_is_not_shown(archive: EventArchive) -> None:
    archive.publish()
    listening = Listening(archive.receiver, "--max=1")
    listening.wait_for_tap()
    now = time.time()
    archive.receiver.client("events").start_replay(
        ReplayName="of-others",
        EventSourceArn=archive.arn,
        EventStartTime=now - 7200,
        EventEndTime=now,
        Destination={"Arn": archive.receiver.stack.bus_arn},
    )
    live = listening.publish()

    assert [event["event"]["detail"] for event in listening.events()] == [live]


# ---- What it forwards ----


def test_forward_is_signed_delivery(receiver: DeployedReceiver, server: LocalServer) -> None:
    secret = receiver.run("listen", "--print-secret").stdout.strip()
    listening = Listening(receiver, "--max=1", f"--forward-to={server.url}/openai")
    event = listening.publish()

    [shown] = listening.events()

    assert [(forward["status"], forward["url"]) for forward in shown["forward"]] == [(200, f"{server.url}/openai")]
    [request] = server.requests
    assert request.path == "/openai"
    assert request.headers["webhook-id"] == event["id"]
    assert json.loads(request.body) == event
    Webhook(secret).verify(request.body, request.headers)
    client = OpenAI(api_key="unused", webhook_secret=secret)
    assert client.webhooks.unwrap(request.body, request.headers).id == event["id"]


@pytest.mark.parametrize("option", ["--unsigned", "--as=eventbridge"])
def test_forward_without_signature(receiver: DeployedReceiver, server: LocalServer, option: str) -> None:
    listening = Listening(receiver, "--max=1", f"--forward-to={server.url}", option)
    event = listening.publish()
    [shown] = listening.events()

    [request] = server.requests
    assert "webhook-signature" not in request.headers
    assert json.loads(request.body) == (shown["event"] if option == "--as=eventbridge" else event)
    assert shown["event"]["detail"] == event


def test_targets_get_their_types_in_order(receiver: DeployedReceiver, server: LocalServer) -> None:
    targets = [f"--forward-to=batch.*={server.url}/batch", f"--forward-to=response.failed={server.url}/failed"]
    listening = Listening(receiver, "--max=4", *targets)
    for event_type in ("batch.failed", "response.failed", "response.completed", "batch.completed"):
        listening.publish(event_type)
    listening.events()

    assert [request.path for request in server.requests] == ["/batch", "/failed", "/batch"]


def test_failing_answer_shows_its_body(receiver: DeployedReceiver, server: LocalServer) -> None:
    server.answers = [(500, "KeyError: 'output_file_id'\x1b[2J" + "x" * 1000)]
    listening = Listening(receiver, "--max=1", f"--forward-to={server.url}", for_people=True)
    listening.publish()

    output = listening.result().stdout

    [row] = [line for line in output.splitlines() if "->" in line]
    assert "500" in row
    assert "KeyError: 'output_file_id'" in row
    assert row.isprintable()
    assert len(row) < 500


def test_absent_server_is_warning(receiver: DeployedReceiver, server: LocalServer) -> None:
    server.shutdown()
    server.server_close()
    listening = Listening(receiver, "--max=1", f"--forward-to={server.url}")
    listening.publish()

    assert server.url in listening.result().stderr
    [shown] = listening.events()
    assert [forward["status"] for forward in shown["forward"]] == [None]


def test_slow_server_is_given_up(
    receiver: DeployedReceiver, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "TIMEOUT", 0.2)
    server.hangs = True
    listening = Listening(receiver, "--max=1", f"--forward-to={server.url}")
    listening.publish()
    [shown] = listening.events()

    assert [forward["status"] for forward in shown["forward"]] == [None]


def test_development_secret_stays_the_same(receiver: DeployedReceiver, tmp_path: Path) -> None:
    first, second = (receiver.run("listen", "--print-secret").stdout for _ in range(2))

    assert first == second
    assert first.startswith("whsec_")
    [file] = (tmp_path / "config").rglob("development-secret")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_page_shows_event_and_forwards_it_again(
    receiver: DeployedReceiver, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[LivePage] = []

    def open_page(title: str, forwarder: forwarding.Forwarder) -> LivePage:
        pages.append(LivePage(title, forwarder))
        return pages[0]

    monkeypatch.setattr(listen, "LivePage", open_page)
    listening = Listening(receiver, "--max=2", f"--forward-to={server.url}", "--page")
    event = listening.publish()
    wait_until(lambda: server.requests, "a forward")
    url = pages[0].url
    with requests.get(f"{url}page/events", stream=True, timeout=10) as stream:
        record = next(json.loads(line[6:]) for line in stream.iter_lines(decode_unicode=True) if '"kind"' in line)
    answer = requests.post(f"{url}page/actions/forward_again", json={"record_id": record["id"]}, timeout=10)
    listening.publish()
    listening.result()

    assert record["bus_event"]["detail"] == event
    assert answer.json()["forwards"][0]["status"] == 200
    assert len(server.requests) == 3


# ---- Options that cannot work ----


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["batch completed"], "batch.completed", id="type with space"),
        pytest.param(["--where=data.id"], "FIELD=VALUE", id="where without value"),
        pytest.param(["--where=.=1"], "FIELD=VALUE", id="where without field"),
        pytest.param(["--forward-to=ftp://x"], "--forward-to", id="scheme"),
        pytest.param(["--forward-to=http://"], "--forward-to", id="no host"),
        pytest.param(["--for=soon"], "soon", id="duration"),
        pytest.param(["--unsigned", "--as=eventbridge"], "--unsigned", id="unsigned envelope"),
        pytest.param(["--rule=x", "batch.failed"], "--rule", id="rule and type"),
        pytest.param(["--rule=x"], "openai-webhooks rules", id="unknown rule"),
        pytest.param(["--since=15m"], "ArchiveRetentionDays", id="no archive"),
        pytest.param(["--stack=other"], "openai-webhooks.", id="no such stack"),
        pytest.param(["--stack=openai-webhooks-subscriber"], "--stack", id="other stack"),
        pytest.param(["--profile=nobody"], "list-profiles", id="no such profile"),
    ],
)
def test_invalid_option_is_named(receiver: DeployedReceiver, arguments: list[str], named: str) -> None:
    result = receiver.run("listen", *arguments)

    assert result.exit_code == 2, result.output
    assert named in result.stderr
    assert result.stdout == ""


def test_unknown_type_is_warning(receiver: DeployedReceiver) -> None:
    listening = Listening(receiver, "orchestra.tuned", "--max=1")
    listening.publish("orchestra.tuned")

    assert "orchestra.tuned" in listening.result().stderr
    assert len(listening.events()) == 1


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        pytest.param({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "aws sso login", id="no credentials"),
        pytest.param({"AWS_DEFAULT_REGION": ""}, "--region", id="no region"),
        pytest.param({"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "--endpoint-url", id="no AWS"),
    ],
)
def test_incomplete_setting_is_named(receiver: DeployedReceiver, variables: dict[str, str], named: str) -> None:
    no_dev = {} if "AWS_ENDPOINT_URL" in variables else {"AWS_ENDPOINT_URL": "https://127.0.0.1:1"}

    result = receiver.run("listen", **no_dev, **variables)

    assert result.exit_code == 2
    assert named in result.stderr


def test_embedded_aws_is_found_without_credentials(receiver: DeployedReceiver) -> None:
    without = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_DEFAULT_REGION": ""}

    result = receiver.run("listen", "--for=1s", "--json", **without)

    assert result.exit_code == 0, result.output
    assert receiver.aws.url in result.stderr


# ---- When AWS does not do what it is asked ----


@pytest.fixture
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_session, "_RECONNECT_INTERVAL", 0.1)
    monkeypatch.setattr(listen_session, "POLL", 1)


@pytest.mark.parametrize(
    ("operation", "code", "named"),
    [
        pytest.param("CreateQueue", "AccessDenied", "openai-webhooks iam listen", id="denied queue"),
        pytest.param("PutRule", "AccessDeniedException", "openai-webhooks iam listen", id="denied rule"),
        pytest.param("PutTargets", "AccessDeniedException", "openai-webhooks iam listen", id="denied target"),
        pytest.param("PutEvents", "AccessDeniedException", "openai-webhooks iam listen", id="denied probe"),
        pytest.param("PutRule", "LimitExceededException", "listen --clean", id="rule quota"),
        pytest.param("CreateQueue", "ExpiredToken", "aws sso login", id="expired"),
        pytest.param("DescribeStacks", "Throttling", "DescribeStacks", id="anything else"),
    ],
)
def test_refused_call_is_explained(
    receiver: DeployedReceiver, faults: AwsFaults, operation: str, code: str, named: str
) -> None:
    faults.fail(operation, code, "User: arn:aws:sts::1:me is not authorized to perform: sqs:CreateQueue on resource: x")

    result = receiver.run("listen")

    assert result.exit_code == 2
    assert named in result.stderr


def test_probe_that_does_not_arrive_is_failure(
    receiver: DeployedReceiver, faults: AwsFaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tap, "PROBE_TIMEOUT", 1)
    faults.ignore("PutEvents", {"Entries": [{"EventId": "1"}], "FailedEntryCount": 0})

    result = receiver.run("listen", "--json")

    assert result.exit_code == 1
    assert "openai-webhooks doctor" in result.stderr
    assert lines(result) == [{"type": "closed", "removed": True}]


def test_session_that_cannot_be_removed_prints_commands(receiver: DeployedReceiver, faults: AwsFaults) -> None:
    faults.fail("DeleteQueue", "AccessDenied")

    result = receiver.run("listen", "--json", "--for=1s")

    [leftover] = receiver.leftovers()
    assert lines(result)[-1] == {"type": "closed", "removed": False}
    assert f"aws events delete-rule --name {leftover}" in result.stderr
    assert "aws sqs delete-queue" in result.stderr
    faults.recover()
    assert receiver.run("listen", "--clean", "--yes").exit_code == 0


def test_expired_credentials_are_waited_for(receiver: DeployedReceiver, faults: AwsFaults, fast_retries: None) -> None:
    listening = Listening(receiver, "--max=2")
    listening.publish()
    for operation in ("ReceiveMessage", "GetQueueUrl"):
        faults.fail(operation, "ExpiredToken")
    wait_until(lambda: faults.count("GetQueueUrl") > 1, "attempts to reconnect")
    listening.publish()
    faults.recover()

    result = listening.result()

    assert [record["type"] for record in lines(result)].count("event") == 2
    assert "gap" not in [record["type"] for record in lines(result)]


def test_long_interruption_is_reported_as_gap(
    receiver: DeployedReceiver, faults: AwsFaults, fast_retries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listen_session, "LEASE", 0)
    listening = Listening(receiver, "--max=2")
    listening.publish()
    wait_until(lambda: faults.count("DeleteMessageBatch") == 2, "the first event")
    for operation in ("ReceiveMessage", "GetQueueUrl"):
        faults.fail(operation, "ExpiredToken")
    wait_until(lambda: faults.count("GetQueueUrl"), "a reconnection")
    faults.recover()
    listening.publish()

    result = listening.result()

    records = {record["type"]: record for record in lines(result)}
    assert records["reconnecting"]["reason"]
    assert records["gap"]["from"] <= records["gap"]["to"]
    assert "listen --since" in result.stderr
    assert "aws sso login" in result.stderr


def test_removed_queue_is_created_again(receiver: DeployedReceiver, faults: AwsFaults, fast_retries: None) -> None:
    listening = Listening(receiver, "--max=2")
    listening.publish()
    sqs = receiver.client("sqs")
    [url] = [url for url in sqs.list_queues()["QueueUrls"] if "-listen-" in url]
    sqs.delete_queue(QueueUrl=url)
    wait_until(lambda: faults.count("CreateQueue") == 2, "a new queue")
    listening.publish()

    assert len(listening.events()) == 2


# ---- Sessions that crashed ----


def test_next_session_removes_ended_session(receiver: DeployedReceiver) -> None:
    abandoned = abandon(receiver, lease_end=datetime.now(UTC).timestamp() - 1)
    running = abandon(receiver, lease_end=datetime.now(UTC).timestamp() + 100)

    result = receiver.run("listen", "--for=1s")

    assert abandoned in result.stderr
    assert receiver.leftovers() == [running, running]
    assert receiver.run("listen", "--clean", "--yes").exit_code == 0


def test_clean_asks_before_it_removes_running_session(receiver: DeployedReceiver) -> None:
    running = abandon(receiver, lease_end=datetime.now(UTC).timestamp() + 100)

    refused = receiver.run("listen", "--clean")
    cleaned = receiver.run("listen", "--clean", "--yes", "--json")

    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert lines(cleaned) == [{"type": "removed", "name": running}]


def test_queue_without_rule_is_leftover(receiver: DeployedReceiver) -> None:
    receiver.client("sqs").create_queue(QueueName="openai-webhooks-listen-me-0123abcd")

    result, again = (receiver.run("listen", "--clean", "--yes", "--json") for _ in range(2))

    assert lines(result) == [{"type": "removed", "name": "openai-webhooks-listen-me-0123abcd"}]
    assert again.stdout == ""


def test_other_rule_with_similar_name_is_kept(receiver: DeployedReceiver) -> None:
    events = receiver.client("events")
    events.put_rule(Name="openai-webhooks-listen-in", EventBusName=receiver.bus, EventPattern='{"source": ["x"]}')

    receiver.run("listen", "--clean", "--yes")

    assert receiver.leftovers() == ["openai-webhooks-listen-in"]
    events.delete_rule(Name="openai-webhooks-listen-in", EventBusName=receiver.bus)


def abandon(receiver: DeployedReceiver, *, lease_end: float) -> str:
    """Leave the rule and the queue of a session that was killed. Return their name."""
    abandoned = tap.Tap(receiver.stack, [{"source": ["openai.com"]}])
    abandoned.create()
    abandoned.stack.clock_skew += lease_end - abandoned.lease_end
    abandoned.renew()
    return abandoned.name
