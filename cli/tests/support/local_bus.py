"""The event bus of an embedded AWS, as a test sees it."""

import json
from typing import Any

import boto3

from openai_webhooks_cli.local.moto_aws import LAMBDA_ENVIRONMENT
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION


def client(url: str, service: Any) -> Any:
    """Return a boto3 client of an embedded AWS."""
    return boto3.client(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=LAMBDA_ENVIRONMENT["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=LAMBDA_ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
    )


class Bus:
    """Collects every event that is published to the bus."""

    def __init__(self, url: str, *, name: str = "openai-webhooks") -> None:
        """`url` is that of the embedded AWS."""
        self._url = url
        self._seen: list[dict[str, Any]] = []
        self._queue = client(self._url, "sqs").create_queue(QueueName="Seen")["QueueUrl"]
        rule = {"Name": "Seen", "EventBusName": name}
        client(self._url, "events").put_rule(**rule, EventPattern='{"source": [{"prefix": ""}]}')
        target = {"Id": "Seen", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:Seen"}
        client(self._url, "events").put_targets(Rule="Seen", EventBusName=name, Targets=[target])

    def received(self, event_id: str) -> list[dict[str, Any]]:
        """Return the event with this id as the bus passes it to targets, once for each time that it was published.

        Call it any time after the receiver's answer: the queue has an event before PutEvents returns.
        """
        sqs = client(self._url, "sqs")
        while messages := sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self._seen.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        return [event for event in self._seen if event["detail"]["id"] == event_id]
