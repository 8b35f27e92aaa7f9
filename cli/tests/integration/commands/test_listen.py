"""`openai-webhooks listen`: its options, what it shows and forwards, and its failures."""

import json
import socket
import stat
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
import requests
from openai import OpenAI
from typer.testing import Result

from cli.tests.support.aws_calls import AwsFaults
from cli.tests.support.deployed_receiver import DeployedReceiver
from cli.tests.support.event_archive import EventArchive
from cli.tests.support.local_server import LocalServer
from openai_webhooks_cli import samples
from openai_webhooks_cli.aws import tap
from openai_webhooks_cli.commands import forwarding, listen, listen_session
from openai_webhooks_cli.commands.listen_page import LivePage
from openai_webhooks_cli.shell.stop import Stop
from tests.support.background import wait_until


class Listening:
    """`listen` in a thread."""

    def __init__(self, receiver: DeployedReceiver, *arguments: str) -> None:
        self._receiver = receiver
        self._results: list[Result] = []
        self._thread = threading.Thread(
            target=lambda: self._results.append(receiver.run("listen", *arguments)), daemon=True
        )
        self._thread.start()
        wait_until(self._has_target, "a tap")

    def result(self) -> Result:
        self._thread.join(60)
        return self._results[0]

    def records(self) -> list[dict[str, Any]]:
        """Return what --json prints."""
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


HOSTILE = ["\x1b]0;owned\x07\x1b[2J", "\x9b31m", "\u202e", "\ud800", "a\nb\rc\u2028d"]


def test_each_live_event_is_one_record(receiver: DeployedReceiver) -> None:
    nested: Any = "deep"
    for _ in range(900):
        nested = {"n": nested}
    listening = Listening(receiver, "--json", "--max=3")
    events = [receiver.publish(data=data) for data in ("".join(HOSTILE), nested, "x" * 1_000_000)]

    ready, *shown, closed = listening.records()

    assert ready["type"] == "ready"
    assert [record["event"]["detail"] for record in shown] == events
    assert closed == {"type": "closed", "removed": True}
    assert listening.result().stdout.isascii()


def test_each_row_has_type_id_and_ages_and_does_not_act_on_terminal(receiver: DeployedReceiver) -> None:
    listening = Listening(receiver, f"--max={1 + len(HOSTILE)}")
    for text in ["evt_row", *HOSTILE]:
        receiver.publish(id=text)

    rows = [line for line in listening.result().stdout.split("\n") if line]

    assert [row.isprintable() and "batch.completed" in row for row in rows] == [True] * (1 + len(HOSTILE))
    assert all(text in rows[0] for text in ("evt_row", "after OpenAI", "after the bus"))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(
            ["response.failed", "batch.*"], ["batch.completed", "batch.failed", "response.failed"], id="types"
        ),
        pytest.param(
            ["--where=data.id=resp_abc123", "--where=data.id=another"],
            ["response.failed", "response.completed"],
            id="field",
        ),
        pytest.param(["--rule=OnFailure"], ["batch.failed", "response.failed"], id="rule"),
        pytest.param(["*.failed"], ["batch.failed", "response.failed"], id="wildcard"),
        pytest.param(["--where=n=7"], ["response.completed"], id="number in a text"),
    ],
)
def test_filter_selects_events(receiver: DeployedReceiver, arguments: list[str], expected: list[str]) -> None:
    if "--rule=OnFailure" in arguments:
        arguments = [f"--rule={receiver.rule('OnFailure')['Name']}"]
    listening = Listening(receiver, "--json", *arguments, f"--max={len(expected)}")
    for event_type in ("batch.completed", "batch.failed", "response.failed", "response.completed"):
        receiver.publish(event_type, **({"n": "7"} if event_type == "response.completed" else {}))

    assert [event["event"]["detail-type"] for event in listening.events()] == expected


def test_past_events_are_shown_and_replays_of_others_are_not(archive: EventArchive) -> None:
    archive.publish(ago=3 * 3600)
    past = archive.publish(ago=3600)
    listening = Listening(archive.receiver, "--json", "--since=2h", "--max=2")
    wait_until(archive.replays, "a replay")
    now = time.time()
    archive.receiver.client("events").start_replay(
        ReplayName="of-others",
        EventSourceArn=archive.arn,
        EventStartTime=now - 4 * 3600,
        EventEndTime=now,
        Destination={"Arn": archive.receiver.stack.bus_arn},
    )
    live = archive.receiver.publish()

    assert [event["event"]["detail"] for event in listening.events()] == [past, live]
    own = archive.replays()[0]
    assert "-listen-" in own["Destination"]["FilterArns"][0]


def test_event_before_probe_is_kept_in_queue_that_only_rule_can_write_to(receiver: DeployedReceiver) -> None:
    early = tap.Tap(receiver.stack, [{"source": ["openai.com"]}])
    early.create()
    event = receiver.publish()

    early.prove(Stop(print))
    [message] = early.receive(wait=0)
    url = receiver.client("sqs").get_queue_url(QueueName=early.name)["QueueUrl"]
    attributes = receiver.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["Policy"])["Attributes"]
    early.close()

    assert message.event["detail"] == event
    condition = json.loads(attributes["Policy"])["Statement"]["Condition"]
    assert condition == {"ArnEquals": {"aws:SourceArn": early.rule_arn}}


# ---- What it forwards ----


def test_forwards_are_signed_deliveries_of_chosen_types(receiver: DeployedReceiver, server: LocalServer) -> None:
    targets = [f"--forward-to=batch.*={server.url}/batch", f"--forward-to=response.failed={server.url}/failed"]
    listening = Listening(receiver, "--json", "--max=3", *targets)
    event = receiver.publish("batch.failed")
    receiver.publish("response.completed")
    receiver.publish("response.failed")

    shown = listening.events()

    answers = [[(answer["status"], answer["url"]) for answer in event.get("forward", [])] for event in shown]
    assert answers == [[(200, f"{server.url}/batch")], [], [(200, f"{server.url}/failed")]]
    assert [request.path for request in server.requests] == ["/batch", "/failed"]
    delivery = server.requests[0]
    secret = receiver.run("listen", "--print-secret").stdout.strip()
    OpenAI(api_key="unused", webhook_secret=secret).webhooks.verify_signature(delivery.body, delivery.headers)
    assert json.loads(delivery.body) == event
    assert delivery.headers["webhook-id"] == event["id"]


@pytest.mark.parametrize("option", ["--unsigned", "--as=eventbridge"])
def test_forward_without_signature(receiver: DeployedReceiver, server: LocalServer, option: str) -> None:
    listening = Listening(receiver, "--json", "--max=1", f"--forward-to={server.url}", option)
    event = receiver.publish()
    [shown] = listening.events()

    [request] = server.requests
    assert "webhook-signature" not in request.headers
    assert json.loads(request.body) == (shown["event"] if option == "--as=eventbridge" else event)


def test_event_is_shown_with_answers_of_servers_that_fail(
    receiver: DeployedReceiver, server: LocalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forwarding, "TIMEOUT", 0.2)
    server.answers = [(500, "KeyError: 'output_file_id'\x1b[2J" + "x" * 1000)]
    with socket.create_server(("127.0.0.1", 0)) as hanging, socket.create_server(("127.0.0.1", 0)) as absent:
        urls = [server.url, *(f"http://127.0.0.1:{socket.getsockname()[1]}" for socket in (hanging, absent))]
        absent.close()
        listening = Listening(receiver, "--json", "--max=1", *(f"--forward-to={url}" for url in urls))
        receiver.publish()
        [shown] = listening.events()

    assert [(answer["url"], answer["status"]) for answer in shown["forward"]] == list(
        zip(urls, [500, None, None], strict=True)
    )
    text = shown["forward"][0]["text"]
    assert text.startswith("KeyError: 'output_file_id'")
    assert text.isprintable()
    assert len(text) < 500
    assert [url in listening.result().stderr for url in urls] == [False, False, True]


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
    event = receiver.publish()
    wait_until(lambda: server.requests, "a forward")
    url = pages[0].url
    with requests.get(f"{url}page/events", stream=True, timeout=10) as stream:
        record = next(json.loads(line[6:]) for line in stream.iter_lines(decode_unicode=True) if '"kind"' in line)
    answer = requests.post(f"{url}page/actions/forward_again", json={"record_id": record["id"]}, timeout=10)
    receiver.publish()
    listening.result()

    assert record["bus_event"]["detail"] == event
    assert answer.json()["forwards"][0]["status"] == 200
    assert len(server.requests) == 3


# ---- Options that cannot work ----


NO_AWS: dict[str, str | None] = {"AWS_ENDPOINT_URL": "https://127.0.0.1:1"}


@pytest.mark.parametrize(
    ("arguments", "variables", "named"),
    [
        pytest.param(["batch completed"], {}, "batch.completed", id="type with space"),
        pytest.param(["--where=data.id"], {}, "FIELD=VALUE", id="where without value"),
        pytest.param(["--where=.=1"], {}, "FIELD=VALUE", id="where without field"),
        pytest.param(["--where=data=1", "--where=data.a=y"], {}, "exclude each other", id="field of a value"),
        pytest.param(["--where=data.a.b=y", "--where=data.a=1"], {}, "exclude each other", id="value of an object"),
        pytest.param(["a.**"], {}, "is not an event type", id="two wildcards"),
        pytest.param(["--forward-to=ftp://x"], {}, "ftp://x is not a URL", id="scheme"),
        pytest.param(["--forward-to=http://"], {}, "http:// is not a URL", id="no host"),
        pytest.param(["--for=soon"], {}, "soon", id="duration"),
        pytest.param(["--for=0s"], {}, "at least 1s", id="no duration"),
        pytest.param(["--unsigned", "--as=eventbridge"], {}, "--unsigned", id="unsigned envelope"),
        pytest.param(["--rule=x", "batch.failed"], {}, "Choose either --rule", id="rule and type"),
        pytest.param(["--rule=x"], {}, "openai-webhooks rules", id="unknown rule"),
        pytest.param(["--since=15m"], {}, "ArchiveRetentionDays", id="no archive"),
        pytest.param(["--stack=other"], {}, "openai-webhooks.", id="no such stack"),
        pytest.param(["--stack=openai-webhooks-subscriber"], {}, "--stack", id="other stack"),
        pytest.param(["--profile=nobody"], {}, "list-profiles", id="no such profile"),
        pytest.param(
            [], NO_AWS | {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "aws sso login", id="no credentials"
        ),
        pytest.param([], NO_AWS | {"AWS_DEFAULT_REGION": None}, "`make dev`", id="no region"),
        pytest.param([], {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"}, "--endpoint-url", id="no AWS"),
    ],
)
def test_unusable_option_or_variable_is_named(
    receiver: DeployedReceiver, arguments: list[str], variables: dict[str, str | None], named: str
) -> None:
    result = receiver.run("listen", *arguments, **variables)

    assert result.exit_code == 2, result.output
    assert named in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("keys", [{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, {}], ids=["no keys", "keys"])
def test_embedded_aws_needs_no_region(receiver: DeployedReceiver, keys: dict[str, str]) -> None:
    result = receiver.run("listen", "orchestra.tuned", "--for=1s", "--json", AWS_DEFAULT_REGION=None, **keys)

    assert result.exit_code == 0, result.output
    assert receiver.aws.url in result.stderr
    assert "orchestra.tuned is not a known event type" in result.stderr
    assert [record["type"] for record in lines(result)] == ["ready", "closed"]


# ---- When AWS does not do what it is asked ----


@pytest.fixture
def fast_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_session, "_RECONNECT_INTERVAL", 0.1)
    monkeypatch.setattr(listen_session, "POLL", 1)


@pytest.mark.parametrize(
    ("operation", "code", "named"),
    [
        pytest.param("CreateQueue", "AccessDenied", "openai-webhooks iam listen", id="denied queue"),
        pytest.param("PutRule", "LimitExceededException", "listen --clean", id="rule quota"),
        pytest.param("PutTargets", "AccessDeniedException", "openai-webhooks iam listen", id="denied target"),
        pytest.param("PutEvents", "ExpiredToken", "aws sso login", id="expired"),
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
    monkeypatch.setattr(tap, "PROBE_TIMEOUT", 0.1)
    faults.ignore("PutEvents", {"Entries": [{"EventId": "1"}], "FailedEntryCount": 0})

    result = receiver.run("listen", "--json", "--for=1s")

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


def test_session_survives_interruptions_and_reports_long_one_as_gap(
    receiver: DeployedReceiver, faults: AwsFaults, fast_retries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expire_credentials() -> None:
        attempts = faults.count("GetQueueUrl")
        for operation in ("ReceiveMessage", "GetQueueUrl"):
            faults.fail(operation, "ExpiredToken")
        wait_until(lambda: faults.count("GetQueueUrl") > attempts, "an attempt to reconnect")

    listening = Listening(receiver, "--json", "--max=3")
    receiver.publish()
    wait_until(lambda: faults.count("DeleteMessageBatch") == 2, "the first event, after the probe")
    expire_credentials()
    receiver.publish()
    faults.recover()
    wait_until(lambda: faults.count("DeleteMessageBatch") == 3, "the second event")
    monkeypatch.setattr(listen_session, "LEASE", 0)
    expire_credentials()
    faults.recover()
    receiver.publish()

    records = listening.records()

    types = [record["type"] for record in records]
    assert types == ["ready", "event", "reconnecting", "event", "reconnecting", "gap", "event", "closed"]
    assert records[2]["reason"]
    assert records[5]["from"] <= records[5]["to"]
    assert "listen --since" in listening.result().stderr
    assert "aws sso login" in listening.result().stderr


def test_each_event_is_shown_once_in_spite_of_twenty_cuts(
    receiver: DeployedReceiver, faults: AwsFaults, fast_retries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tap, "VISIBILITY", 1)
    random, ids = Random(7), []
    cuts = random.sample(range(30), 20)
    listening = Listening(receiver, "--json", "--max=300")
    sqs, events = receiver.client("sqs"), receiver.client("events")
    [url] = [url for url in sqs.list_queues()["QueueUrls"] if "-listen-" in url]
    for number in range(30):
        if number in cuts:
            faults.fail(random.choice(["ReceiveMessage", "DeleteMessageBatch"]), "ServiceUnavailable")
        batch = [samples.sample("batch.failed", created_at=1, event_id=f"evt_{number}_{n}") for n in range(10)]
        entry = {"EventBusName": receiver.bus, "Source": "openai.com", "DetailType": "batch.failed"}
        events.put_events(Entries=[{**entry, "Detail": json.dumps(event)} for event in batch])
        ids += [event["id"] for event in batch]
        if number in cuts:
            sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)  # an answer that got lost
            faults.recover()

    records = listening.records()

    assert sorted(record["event"]["detail"]["id"] for record in records if record["type"] == "event") == sorted(ids)
    assert "reconnecting" in {record["type"] for record in records}
    assert "gap" not in {record["type"] for record in records}


def test_removed_queue_is_created_again(receiver: DeployedReceiver, faults: AwsFaults, fast_retries: None) -> None:
    listening = Listening(receiver, "--json", "--max=1")
    sqs = receiver.client("sqs")
    wait_until(lambda: faults.count("DeleteMessageBatch"), "the probe")
    [url] = [url for url in sqs.list_queues()["QueueUrls"] if "-listen-" in url]
    sqs.delete_queue(QueueUrl=url)
    wait_until(lambda: faults.count("CreateQueue") == 2, "a new queue")
    receiver.publish()

    types = [record["type"] for record in listening.records()]
    assert types == ["ready", "reconnecting", "gap", "event", "closed"]


# ---- Sessions that crashed ----


def test_crashed_session_gets_no_more_events_and_is_removed_by_next_session(receiver: DeployedReceiver) -> None:
    crashed, running = abandon(receiver, seconds_left=-1), abandon(receiver, seconds_left=100)
    receiver.publish()

    received = {session.name: len(session.receive(wait=0)) for session in (crashed, running)}
    result = receiver.run("listen", "--for=1s")

    assert received == {crashed.name: 0, running.name: 1}
    assert crashed.name in result.stderr
    assert receiver.leftovers() == [running.name, running.name]
    running.close()


def test_clean_removes_queue_without_rule_and_asks_for_running_session(receiver: DeployedReceiver) -> None:
    running = abandon(receiver, seconds_left=100).name
    receiver.client("sqs").create_queue(QueueName="openai-webhooks-listen-me-0123abcd")
    other = {"Name": "openai-webhooks-listen-in", "EventBusName": receiver.bus}
    receiver.client("events").put_rule(**other, EventPattern='{"source": ["x"]}')

    refused = receiver.run("listen", "--clean")
    cleaned, again = (receiver.run("listen", "--clean", "--yes", "--json") for _ in range(2))

    assert refused.exit_code == 2
    assert "--yes" in refused.stderr
    assert {record["name"] for record in lines(cleaned)} == {running, "openai-webhooks-listen-me-0123abcd"}
    assert again.stdout == ""
    assert receiver.leftovers() == ["openai-webhooks-listen-in"]
    receiver.client("events").delete_rule(**other)


def abandon(receiver: DeployedReceiver, *, seconds_left: float) -> tap.Tap:
    """Leave the rule and the queue of a session that was killed."""
    abandoned = tap.Tap(receiver.stack, [{"source": ["openai.com"]}])
    abandoned.create()
    abandoned.stack.clock_skew += seconds_left - tap.LEASE
    abandoned.renew()
    return abandoned
