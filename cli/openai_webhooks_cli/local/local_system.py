"""The whole system on one machine: HTTP API, receiver, embedded AWS, subscribers.

Both stacks come from their templates. docs/guide/local.md says which parts are AWS's own code, which parts are emulated
and which parts are this project's.
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

from openai_webhooks_cli.local.function_pool import FunctionPool
from openai_webhooks_cli.local.http_api import AnsweredDelivery, HttpApi
from openai_webhooks_cli.local.moto_aws import ACCOUNT, LOOPBACK, MotoAws
from openai_webhooks_cli.local.sam_template import REGION
from openai_webhooks_cli.local.subscribers import Subscribers

ROOT = Path(__file__).resolve().parents[3]
RECEIVER_STACK = "openai-webhooks"
SUBSCRIBER_STACK = "openai-webhooks-subscriber"
RECEIVER_PROCESSES = 2  # so that two copies of a delivery can be in progress at the same time


class PortTakenError(Exception):
    """Another program uses the port."""


class LocalSystem:
    """The running system. It starts on construction and stops at the end of the `with` statement.

    The functions' output goes to the file `log`. `on_progress` is called with each step of the start. `on_answer` is
    called with each delivery, from the threads of the HTTP API.
    """

    def __init__(
        self,
        *,
        secret: str,
        log: Path,
        port: int = 0,
        aws_port: int = 0,
        aws_hosts: Sequence[str] = (LOOPBACK,),
        on_progress: Callable[[str], None] = lambda _: None,
        on_answer: Callable[[AnsweredDelivery], None] = lambda _: None,
    ) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would log each request, also those to moto
        with ExitStack() as parts:
            listener = parts.enter_context(_listen(port, "--port"))
            for host in aws_hosts:
                _listen(aws_port, "--aws-port", host).close()

            on_progress("Starting the embedded AWS")
            self.aws = MotoAws(aws_port, aws_hosts)
            parts.callback(self.aws.close)

            on_progress("Deploying both stacks from their templates")
            receiver_stack = self.aws.deploy(ROOT / "template.yaml", RECEIVER_STACK)
            subscriber_stack = self.aws.deploy(ROOT / "examples/subscriber/template.yaml", SUBSCRIBER_STACK)
            self._bus = receiver_stack.outputs["EventBusName"]
            (self._secret_arn,) = receiver_stack.secrets.values()
            self.store_secret(secret)

            on_progress("Starting the functions")
            (function,) = receiver_stack.functions.values()
            self._source = function.environment["EVENT_SOURCE"]
            receiver = FunctionPool(function, log=log, size=RECEIVER_PROCESSES)
            parts.callback(receiver.close)
            self.subscribers = Subscribers(self.aws, subscriber_stack.functions.values(), log=log)
            parts.callback(self.subscribers.close)
            receiver.wait_until_ready()
            self.subscribers.start()

            (route,) = receiver_stack.routes
            self.http_api = HttpApi(listener, route, receiver, log=log, on_answer=on_answer)
            parts.callback(_stop_processes)
            parts.callback(self.http_api.close)
            self._parts = parts.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def store_secret(self, secret: str) -> None:
        """Make `secret` the current signing secret. The current one becomes the previous one, as in a rotation."""
        self.aws.client("secretsmanager").put_secret_value(SecretId=self._secret_arn, SecretString=secret)

    def watch_bus(self, on_event: Callable[[dict[str, Any]], None]) -> None:
        """Call `on_event`, from another thread, with each event on the bus, from any publisher."""
        queue_url = self.aws.client("sqs").create_queue(QueueName="Everything")["QueueUrl"]
        events = self.aws.client("events")
        events.put_rule(Name="Everything", EventBusName=self._bus, EventPattern='{"source": [{"prefix": ""}]}')
        target = {"Id": "Everything", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:Everything"}
        events.put_targets(Rule="Everything", EventBusName=self._bus, Targets=[target])
        self.subscribers.watch(queue_url, on_event)

    def matching_subscribers(self, event: Mapping[str, Any]) -> list[str]:
        """Return the subscribers whose rules match the event, sorted."""
        on_bus = {"source": self._source, "detail-type": event["type"], "detail": event}
        return sorted(name for name, pattern in self._rules if pattern.matches_event(on_bus))  # type: ignore[arg-type]  # moto's type for an event has more fields than its patterns read

    def arrivals_logged(self) -> int:
        """Return the number of events that the bus has logged."""
        logs = self.aws.client("logs")
        # EventBridge logs only to groups with this prefix.
        (group,) = logs.describe_log_groups(logGroupNamePrefix="/aws/events/")["logGroups"]
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        return sum(len(page["events"]) for page in pages)

    @cached_property
    def _rules(self) -> list[tuple[str, EventPattern]]:
        events = self.aws.client("events")
        return [
            (queue.removesuffix("FunctionInbox"), EventPattern.load(rule["EventPattern"]))
            for rule in events.list_rules(EventBusName=self._bus)["Rules"]
            for target in events.list_targets_by_rule(Rule=rule["Name"], EventBusName=self._bus)["Targets"]
            if (queue := target["Arn"].split(":")[-1]).endswith("FunctionInbox")
        ]


def _stop_processes() -> None:
    """Stop the functions' processes at once. Without this, they would finish what they are doing."""
    for process in multiprocessing.active_children():
        process.terminate()


def _listen(port: int, option: str, host: str = LOOPBACK) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTakenError(
            f"Port {port} is taken. Stop the program that uses it, or choose another port with {option}."
        ) from None
