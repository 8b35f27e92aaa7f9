"""A moto server in this process, and a stack in it: a bus whose events reach a queue, a table and a secret."""

import json
import logging
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from uuid import uuid4

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from tests.support.receiver_instance import SECRET
from tests.support.templates import receiver_environment

ACCOUNT: Final = "123456789012"
REGION: Final = "us-east-1"
CREDENTIALS: Final = {
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
}


@contextmanager
def moto_server() -> Iterator[str]:
    """Run a moto server until the end of the `with` statement, and leave its AWS empty. Gives its URL."""
    # The server runs in this process, and its log of requests would be among the function's.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # moto's own ThreadedMotoServer waits forever if the server cannot start.
    with make_server("127.0.0.1", 0, DomainDispatcherApplication(create_backend_app), threaded=True) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        url = f"http://{server.host}:{server.port}"
        yield url
        reset(url)
        server.shutdown()


class MotoStack:
    """What the function works with, under names of its own. All moto servers of a process share one AWS."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self._session = boto3.Session("testing", "testing", "testing", REGION)
        self._sqs = self.client("sqs")
        self._events = self.client("events")
        name = f"test-{uuid4().hex[:8]}"
        # A received message stays hidden for 12 hours.
        queue = self._sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "43200"})
        self._queue_url = queue["QueueUrl"]
        self._queue_arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"
        self.bus = self.add_bus(name)
        self.client("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )
        secret = self.client("secretsmanager").create_secret(Name=name, SecretString=SECRET)
        references = {"EventBus": self.bus, "SigningSecret": secret["ARN"], "DeliveriesTable": name}
        self.settings: dict[str, str] = receiver_environment(references)
        """The function's variables."""

    def client(self, service: Any) -> Any:
        """Return a client with botocore's own settings."""
        return self._session.client(service, endpoint_url=self.endpoint)

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the function's process."""
        return {
            **self.settings,
            "AWS_ENDPOINT_URL": self.endpoint,
            **CREDENTIALS,
            "AWS_LAMBDA_FUNCTION_NAME": "receiver",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        }

    def store_secret(self, secret: str) -> None:
        """Make a signing secret the current one."""
        self.client("secretsmanager").put_secret_value(
            SecretId=self.settings["SIGNING_SECRET_ARN"], SecretString=secret
        )

    def add_bus(self, name: str, pattern: str = f'{{"account": ["{ACCOUNT}"]}}') -> str:
        """Add a bus whose events reach the queue if they match the pattern. Return its name."""
        self._events.create_event_bus(Name=name)
        self._events.put_rule(EventBusName=name, Name=name, EventPattern=pattern)
        self._events.put_targets(EventBusName=name, Rule=name, Targets=[{"Id": "queue", "Arn": self._queue_arn}])
        return name

    def arrived(self) -> list[dict[str, Any]]:
        """Return the events that reached the queue since the last call."""
        received = self._sqs.receive_message(QueueUrl=self._queue_url, MaxNumberOfMessages=10).get("Messages", [])
        events = [json.loads(message["Body"]) for message in received]
        return events + self.arrived() if len(received) == 10 else events

    def records(self) -> list[dict[str, Any]]:
        """Return the items in the table, without DynamoDB's type tags."""
        items = self.client("dynamodb").scan(TableName=self.settings["DELIVERIES_TABLE_NAME"])["Items"]
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in items]


def reset(endpoint: str) -> None:
    """Delete everything in the AWS of a moto server."""
    request = urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")
    urllib.request.urlopen(request).close()
