"""`openai-webhooks status`."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from cli.tests.support.aws_calls import AwsFaults
from cli.tests.support.deployed_receiver import STACK, DeployedReceiver
from openai_webhooks_cli.aws.stack import Resource
from openai_webhooks_cli.commands import status as status_command


def status(receiver: DeployedReceiver, *, exit_code: int = 0) -> dict[str, Any]:
    result = receiver.run("status", "--json")
    assert result.exit_code == exit_code, result.output
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


def test_new_stack_has_no_delivery(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = receiver.stack
    stack.resources["ReceiverFunction"] = Resource("AWS::Lambda::Function", "receiver")
    monkeypatch.setattr(status_command, "open_stack", lambda *_: stack)
    record = status(receiver)

    assert (record["type"], record["stack"]) == ("status", "CREATE_COMPLETE")
    assert (record["last_delivery"], record["archive"]) == (None, None)
    assert {*record["last_24_hours"].values(), *record["dead_letters"].values()} == {0}


def test_embedded_aws_claims_no_zeros(receiver: DeployedReceiver) -> None:
    record = status(receiver)

    assert (record["last_delivery"].keys(), record["last_24_hours"].keys()) == ({"error"}, {"error"})


def test_deliveries_and_dead_letters_are_counted(receiver: DeployedReceiver) -> None:
    delivery, error = (
        {"event_type": "batch.completed", "outcome": "Published"},
        {"level": "ERROR", "message": "planted"},
    )
    log(receiver, "older", {**delivery, "outcome": "Duplicate"}, delivery, error)
    log(receiver, "newer", {**delivery, "event_type": "batch.failed"})
    log(receiver, "not about a delivery", error)
    for metric, value in (("Published", 1200), ("Published", 4), ("Unverified", 2)):
        count(receiver, metric, value)
    sqs = receiver.client("sqs")
    url = sqs.get_queue_url(QueueName="OnFailureDeadLetters")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="{}")

    record = status(receiver)

    delivered, counts = record["last_delivery"], record["last_24_hours"]
    assert (delivered["event_type"], delivered["outcome"]) == ("batch.failed", "Published")
    assert (counts["Published"], counts["Unverified"], counts["Duplicate"]) == (1204, 2, 0)
    assert record["dead_letters"]["OnFailureDeadLetters"] == 1
    assert "1,204" in receiver.run("status").stdout


def test_denied_reading_does_not_hide_others(receiver: DeployedReceiver, faults: AwsFaults) -> None:
    faults.fail("DescribeLogStreams", "AccessDeniedException")

    record = status(receiver, exit_code=1)

    assert "openai-webhooks iam status" in record["last_delivery"]["error"]
    assert record["stack"] == "CREATE_COMPLETE"
    assert faults.count("GetMetricData") == 1  # each call costs money
