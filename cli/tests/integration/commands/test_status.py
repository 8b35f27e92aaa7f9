"""`openai-webhooks status`."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from cli.tests.support.aws_calls import AwsFaults
from cli.tests.support.deployed_receiver import STACK, DeployedReceiver


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
    url = sqs.get_queue_url(QueueName="OnFailureDeadLetters")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="{}")

    assert status(receiver)["dead_letters"]["OnFailureDeadLetters"] == 1


def test_denied_reading_does_not_hide_others(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    AwsFaults(monkeypatch).fail("DescribeLogStreams", "AccessDeniedException")

    record = status(receiver)

    assert "openai-webhooks iam status" in record["last_delivery"]["error"]
    assert record["last_24_hours"]["Published"] == 0


def test_metrics_are_read_with_one_call(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    faults = AwsFaults(monkeypatch)

    status(receiver)

    assert faults.count("GetMetricData") == 1
