"""`openai-webhooks status`."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import pexpect
import pytest
from moto.cloudwatch.models import cloudwatch_backends

from cli.tests.support.aws_calls import AwsFaults
from cli.tests.support.deployed_receiver import STACK, DeployedReceiver
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION
from tests.support.background import wait_until

CLI: Final = [sys.executable, "-c", "from openai_webhooks_cli.entry_point import run; run()"]


@pytest.fixture(autouse=True)
def no_old_metrics(receiver: DeployedReceiver) -> Iterator[None]:
    yield
    cloudwatch_backends[ACCOUNT][REGION].metric_data.clear()


@pytest.fixture
def environment(receiver: DeployedReceiver) -> dict[str, str]:
    return {**os.environ, **receiver.environment}


def status(receiver: DeployedReceiver) -> dict[str, Any]:
    result = receiver.run("status", "--json")
    assert result.exit_code == 0, result.output
    record: dict[str, Any] = json.loads(result.stdout)
    return record


def log(receiver: DeployedReceiver, stream: str, *lines: dict[str, Any]) -> None:
    """Write lines to a stream of the receiver's log, one in each second up to now."""
    logs, group = receiver.client("logs"), receiver.stack.physical_id("ReceiverLog")
    start = time.time() - len(lines)
    events = [{"timestamp": int((start + n) * 1000), "message": json.dumps(line)} for n, line in enumerate(lines)]
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=events)


def count(receiver: DeployedReceiver, metric: str, value: int) -> None:
    dimensions = [{"Name": "service", "Value": "receiver"}]
    data = {"MetricName": metric, "Dimensions": dimensions, "Timestamp": datetime.now(UTC), "Value": value}
    receiver.client("cloudwatch").put_metric_data(Namespace=STACK, MetricData=[data])


def test_new_stack_has_no_delivery(receiver: DeployedReceiver) -> None:
    record = status(receiver)

    assert record["type"] == "status"
    assert record["stack"] == "CREATE_COMPLETE"
    assert record["last_delivery"] is None
    assert set(record["last_24_hours"].values()) == {0}
    assert set(record["dead_letters"].values()) == {0}
    assert record["archive"] is None


def test_last_delivery_comes_from_newest_stream(receiver: DeployedReceiver) -> None:
    delivery = {"_aws": {}, "event_type": "batch.completed", "outcome": "Published"}
    log(receiver, "older", {**delivery, "outcome": "Duplicate"}, delivery, {"level": "ERROR", "message": "planted"})
    log(receiver, "newer", {**delivery, "event_type": "batch.failed"})
    log(receiver, "not about a delivery", {"level": "ERROR", "message": "planted"})

    delivered = status(receiver)["last_delivery"]

    assert (delivered["event_type"], delivered["outcome"]) == ("batch.failed", "Published")


def test_counts_are_those_of_receiver(receiver: DeployedReceiver) -> None:
    count(receiver, "Published", 1200)
    count(receiver, "Published", 4)
    count(receiver, "Unverified", 2)

    counts = status(receiver)["last_24_hours"]

    assert (counts["Published"], counts["Unverified"], counts["Duplicate"]) == (1204, 2, 0)
    assert "1,204" in receiver.run("status").stdout


def test_dead_letters_are_counted(receiver: DeployedReceiver) -> None:
    sqs = receiver.client("sqs")
    url = sqs.get_queue_url(QueueName="OnCallDeadLetters")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="{}")

    assert status(receiver)["dead_letters"]["OnCallDeadLetters"] == 1
    sqs.purge_queue(QueueUrl=url)


def test_denied_reading_does_not_hide_others(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    AwsFaults(monkeypatch).fail("DescribeLogStreams", "AccessDeniedException")

    record = status(receiver)

    assert "openai-webhooks iam status" in record["last_delivery"]["error"]
    assert record["last_24_hours"]["Published"] == 0


def test_metrics_are_read_with_one_call(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = AwsFaults(monkeypatch)

    status(receiver)

    assert faults.count("GetMetricData") == 1


def test_watch_prints_lines_without_terminal(receiver: DeployedReceiver, environment: dict[str, str]) -> None:
    with subprocess.Popen([*CLI, "status", "--watch", "--json"], env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout
        records = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.send_signal(signal.SIGINT)
        stopped_at = time.monotonic()
        assert process.wait(10) == 130

    assert time.monotonic() - stopped_at < 1
    assert [record["type"] for record in records] == ["status", "status"]


def test_watch_redraws_on_terminal_until_ctrl_c(receiver: DeployedReceiver, environment: dict[str, str]) -> None:
    terminal = {**environment, "TERM": "xterm"}
    child = pexpect.spawn(CLI[0], [*CLI[1:], "status", "--watch"], env=terminal, encoding="utf-8", timeout=20)
    child.expect("dead letters")
    cursor_up = re.escape("\x1b[1A")
    child.expect(cursor_up)
    child.sendintr()
    stopped_at = time.monotonic()
    child.expect(pexpect.EOF)
    child.close()

    assert time.monotonic() - stopped_at < 1
    assert child.exitstatus == 130


def test_watch_goes_on_after_expired_credentials(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openai_webhooks_cli.commands.status._INTERVAL", 0.01)
    faults = AwsFaults(monkeypatch)

    def refresh_twice() -> None:
        seen = faults.count("DescribeStacks")
        wait_until(lambda: faults.count("DescribeStacks") >= seen + 2, "two refreshes")

    def expire_and_sign_in() -> None:
        refresh_twice()
        faults.fail("DescribeStacks", "ExpiredToken")
        refresh_twice()
        faults.recover()
        refresh_twice()
        os.kill(os.getpid(), signal.SIGINT)

    user = threading.Thread(target=expire_and_sign_in)
    user.start()
    result = receiver.run("status", "--watch", "--json")
    user.join()

    assert result.exit_code == 130
    assert "ExpiredToken" in result.stderr
    assert {json.loads(line)["stack"] for line in result.stdout.splitlines()} == {"CREATE_COMPLETE"}
