"""The whole chain on one machine: HTTP front, receiver, embedded AWS, subscribers.

Both stacks are made from their templates. docs/demo.md says which parts are AWS's own code, which are emulated
and which are ours.
"""

import errno
import logging
import multiprocessing
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from moto.events.models import EventPattern

from webhooks.embedded import ACCOUNT, LOOPBACK, Aws
from webhooks.front import Answered, Front
from webhooks.instances import Instances
from webhooks.stacks import REGION
from webhooks.subscribers import Subscribers

ROOT = Path(__file__).resolve().parents[2]
RECEIVER_STACK = "openai-webhooks"
SUBSCRIBER_STACK = "openai-webhooks-subscriber"
RECEIVERS = 2  # instances, so that two copies of a delivery can be under way at once


class PortTakenError(Exception):
    """Another program listens on the port."""


class Chain:
    """Everything running, from construction to the end of the `with` statement.

    What the functions print goes into the file `log`. `progress` is called with what begins now; `answered`, from
    the front's threads, with each delivery.
    """

    def __init__(
        self,
        *,
        secret: str,
        log: Path,
        port: int = 0,
        aws_port: int = 0,
        aws_hosts: Sequence[str] = (LOOPBACK,),
        progress: Callable[[str], None] = lambda _: None,
        answered: Callable[[Answered], None] = lambda _: None,
    ) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would print each request, moto's included
        with ExitStack() as started:
            listening = started.enter_context(_listen(port, "--port"))
            for host in aws_hosts:
                _listen(aws_port, "--aws-port", host).close()

            progress("Starting the embedded AWS")
            self.aws = Aws(aws_port, aws_hosts)
            started.callback(self.aws.close)

            progress("Deploying both stacks from their templates")
            receiver_stack = self.aws.deploy(ROOT / "template.yaml", RECEIVER_STACK)
            subscriber_stack = self.aws.deploy(ROOT / "examples/subscriber/template.yaml", SUBSCRIBER_STACK)
            self._bus = receiver_stack.outputs["EventBusName"]
            (self._secret_arn,) = receiver_stack.secrets.values()
            self.store_secret(secret)

            progress("Starting the functions")
            (function,) = receiver_stack.functions.values()
            self._source = function.environment["EVENT_SOURCE"]
            receiver = Instances(function, log=log, count=RECEIVERS)
            started.callback(receiver.close)
            self.subscribers = Subscribers(self.aws, subscriber_stack.functions.values(), log=log)
            started.callback(self.subscribers.close)
            receiver.wait()
            self.subscribers.start()

            (route,) = receiver_stack.routes
            self.front = Front(listening, route, receiver, log=log, answered=answered)
            started.callback(_end_processes)
            started.callback(self.front.close)
            self._started = started.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def store_secret(self, secret: str) -> None:
        """Make `secret` the signing secret, and the one before it the previous one, as a rotation does."""
        self.aws.client("secretsmanager").put_secret_value(SecretId=self._secret_arn, SecretString=secret)

    def watch_bus(self, seen: Callable[[dict[str, Any]], None]) -> None:
        """Call `seen`, from another thread, with each event that comes onto the bus, by whatever way."""
        queue_url = self.aws.client("sqs").create_queue(QueueName="Everything")["QueueUrl"]
        events = self.aws.client("events")
        events.put_rule(Name="Everything", EventBusName=self._bus, EventPattern='{"source": [{"prefix": ""}]}')
        target = {"Id": "Everything", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:Everything"}
        events.put_targets(Rule="Everything", EventBusName=self._bus, Targets=[target])
        self.subscribers.watch(queue_url, seen)

    def expected(self, event: Mapping[str, Any]) -> list[str]:
        """The subscribers whose rules' patterns match the event, in alphabetical order."""
        on_bus = {"source": self._source, "detail-type": event["type"], "detail": event}
        return sorted(name for name, pattern in self._rules if pattern.matches_event(on_bus))  # type: ignore[arg-type]

    def arrivals_logged(self) -> int:
        """How many events the bus has written into the arrival log."""
        pages = self.aws.client("logs").get_paginator("filter_log_events")
        return sum(len(page["events"]) for page in pages.paginate(logGroupName=f"/aws/events/{RECEIVER_STACK}"))

    @cached_property
    def _rules(self) -> list[tuple[str, EventPattern]]:
        events = self.aws.client("events")
        return [
            (queue.removesuffix("FunctionInbox"), EventPattern.load(rule["EventPattern"]))
            for rule in events.list_rules(EventBusName=self._bus)["Rules"]
            for target in events.list_targets_by_rule(Rule=rule["Name"], EventBusName=self._bus)["Targets"]
            if (queue := target["Arn"].split(":")[-1]).endswith("FunctionInbox")
        ]


def _end_processes() -> None:
    """End this process's children, the functions' instances, which would otherwise finish what they do."""
    for process in multiprocessing.active_children():
        process.terminate()


def _listen(port: int, option: str, host: str = LOOPBACK) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTakenError(f"Port {port} is taken: end what listens there, or choose another by {option}.") from None
