"""The whole chain on one machine: HTTP front, receiver, embedded AWS, subscribers.

Both stacks are made from their templates. docs/demo.md says which parts are AWS's own code, which are emulated
and which are ours.
"""

import errno
import json
import logging
import multiprocessing
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

from botocore.exceptions import BotoCoreError
from moto.events.models import EventPattern
from werkzeug import Request, Response
from werkzeug.serving import make_server

from webhooks import gateway
from webhooks.embedded import Aws
from webhooks.instances import Instances

ROOT = Path(__file__).resolve().parents[2]
RECEIVER_STACK = "openai-webhooks"
RECEIVERS = 2  # instances, so that two copies of a delivery can be under way at once


class PortTakenError(Exception):
    """Another program listens on the port."""


class Answered(NamedTuple):
    """A delivery that the front has answered."""

    body: bytes
    status: int
    answer: Mapping[str, str]
    seconds: float


class Chain:
    """Everything running, from construction to the end of the `with` statement.

    What the functions print goes into the file `log`. `progress` is called with what begins now; `answered`,
    from the front's threads, with each delivery.
    """

    def __init__(
        self,
        *,
        secret: str,
        log: Path,
        port: int = 0,
        aws_port: int = 0,
        progress: Callable[[str], None] = lambda _: None,
        answered: Callable[[Answered], None] = lambda _: None,
    ) -> None:
        self._log = log
        self._answered = answered
        self._arrivals: dict[str, list[str]] = defaultdict(list)
        self._ending = threading.Event()
        with ExitStack() as started:
            logging.getLogger("werkzeug").setLevel(logging.ERROR)  # the request lines of the front and of moto
            front = started.enter_context(_listen(port, "--port"))
            _listen(aws_port, "--aws-port").close()

            progress("Starting the embedded AWS")
            self.aws = Aws(aws_port)
            started.callback(self.aws.close)
            progress("Deploying both stacks from their templates")
            receiver = self.aws.deploy(ROOT / "template.yaml", RECEIVER_STACK)
            subscriber = self.aws.deploy(ROOT / "examples/subscriber/template.yaml", "openai-webhooks-subscriber")
            (self._secret_arn,) = receiver.secrets.values()
            self.store_secret(secret)

            progress("Starting the functions")
            (receiver_function,) = receiver.functions.values()
            self._source = receiver_function.environment["EVENT_SOURCE"]
            self._bus = receiver.outputs["EventBusName"]
            self._receiver = self._start(started, receiver_function, RECEIVERS)
            self._subscribers = [self._start(started, function) for function in subscriber.functions.values()]
            for instances in [self._receiver, *self._subscribers]:
                instances.wait()
            self._rules = self._read_rules()
            for subscriber_instances in self._subscribers:
                threading.Thread(target=self._consume, args=[subscriber_instances], daemon=True).start()

            ((self._method, self._path),) = receiver.routes
            application = Request.application(self._front)
            server = make_server("127.0.0.1", 0, application, threaded=True, fd=front.fileno())
            threading.Thread(target=server.serve_forever, daemon=True).start()
            started.callback(server.shutdown)
            started.callback(self._end_instances)
            self.url = f"http://127.0.0.1:{front.getsockname()[1]}{self._path}"
            self._started = started.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def store_secret(self, secret: str) -> None:
        """Make `secret` the signing secret, and the one before it the previous one, as a rotation does."""
        self.aws.client("secretsmanager").put_secret_value(SecretId=self._secret_arn, SecretString=secret)

    def settle(self) -> None:
        """Wait until every event that is on the bus has been handled by the subscribers that it reaches."""
        sqs = self.aws.client("sqs")
        counts = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        for subscriber in self._subscribers:
            while any(
                int(n)
                for n in sqs.get_queue_attributes(QueueUrl=subscriber.function.inbox, AttributeNames=counts)[
                    "Attributes"
                ].values()
            ):
                time.sleep(0.01)

    def reached(self, event_id: str) -> list[str]:
        """The subscribers that have handled the event, each as often as it has."""
        return sorted(self._arrivals[event_id])

    def expected(self, event: Mapping[str, Any]) -> list[str]:
        """The subscribers whose rules' patterns match the event."""
        on_bus = {"source": self._source, "detail-type": event["type"], "detail": event}
        return sorted(name for name, pattern in self._rules if pattern.matches_event(on_bus))  # type: ignore[arg-type]

    def arrivals_logged(self) -> int:
        """How many events the bus has written into the arrival log."""
        logs = self.aws.client("logs")
        group = f"/aws/events/{RECEIVER_STACK}"
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        return sum(len(page["events"]) for page in pages)

    def _end_instances(self) -> None:
        self._ending.set()
        for process in multiprocessing.active_children():
            process.terminate()

    def _start(self, started: ExitStack, function: Any, count: int = 1) -> Instances:
        instances = Instances(function, log=self._log, count=count)
        started.callback(instances.close)
        return instances

    def _read_rules(self) -> list[tuple[str, EventPattern]]:
        events = self.aws.client("events")
        subscribers = {f"{s.function.name}Inbox": _short(s.function.name) for s in self._subscribers}
        return [
            (subscribers[name], EventPattern.load(rule["EventPattern"]))
            for rule in events.list_rules(EventBusName=self._bus)["Rules"]
            for target in events.list_targets_by_rule(Rule=rule["Name"], EventBusName=self._bus)["Targets"]
            if (name := target["Arn"].rsplit(":")[-1]) in subscribers
        ]

    def _consume(self, subscriber: Instances) -> None:
        """Hand a subscriber the events in its inbox, as EventBridge would invoke it."""
        sqs = self.aws.client("sqs")
        function = subscriber.function
        try:
            while not self._ending.is_set():
                received = sqs.receive_message(QueueUrl=function.inbox, WaitTimeSeconds=1, MaxNumberOfMessages=10)
                for message in received.get("Messages", []):
                    event = json.loads(message["Body"])
                    arrival = _short(function.name)
                    try:
                        subscriber.invoke(event).result()
                    except Exception as error:  # noqa: BLE001  # whatever a function raises
                        arrival += f" failed ({type(error).__name__})"
                    self._arrivals[event["detail"].get("id", "")].append(arrival)
                    sqs.delete_message(QueueUrl=function.inbox, ReceiptHandle=message["ReceiptHandle"])
        except (BotoCoreError, RuntimeError):
            if not self._ending.is_set():
                raise

    def _front(self, request: Request) -> Response:
        """API Gateway: the one route of the template, in payload format 2.0."""
        if (request.method, request.path) != (self._method, self._path):
            return Response('{"message":"Not Found"}', 404, content_type="application/json")
        body = request.get_data()
        begun = time.perf_counter()
        event = gateway.request_event(
            request.method,
            request.path,
            {name.lower(): value for name, value in request.headers.items()},
            body,
            now=int(time.time()),
        )
        try:
            answer = self._receiver.invoke(event).result()
        except Exception as error:  # noqa: BLE001  # whatever the function raises, API Gateway answers this
            answer = {"statusCode": 500, "body": '{"message":"Internal Server Error"}', "headers": {}}
            logging.getLogger(__name__).error("The receiver failed with %s: see %s", type(error).__name__, self._log)  # noqa: TRY400
        self._answered(Answered(body, answer["statusCode"], json.loads(answer["body"]), time.perf_counter() - begun))
        return Response(answer["body"], answer["statusCode"], headers=answer["headers"])


def _short(name: str) -> str:
    return name.removesuffix("Function")


def _listen(port: int, option: str) -> socket.socket:
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTakenError(
            f"Port {port} is taken: end what listens there, or choose another with {option}."
        ) from None
