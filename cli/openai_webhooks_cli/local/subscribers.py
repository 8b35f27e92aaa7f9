"""The subscribers, with the part of EventBridge that invokes them, and a record of the events that reached them."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError

from openai_webhooks_cli.local.function_pool import Function, FunctionPool
from openai_webhooks_cli.local.moto_aws import MotoAws


class Subscribers:
    """Functions that take events from their inboxes, one at a time. An event whose function fails is not retried."""

    def __init__(self, aws: MotoAws, functions: Iterable[Function], *, log: Path) -> None:
        self._aws = aws
        self._pools = [FunctionPool(function, log=log) for function in functions]
        self._arrivals: dict[str, list[str]] = defaultdict(list)
        self._closing = False

    def start(self) -> None:
        """Wait until the functions are ready, then start to pass events to them."""
        for pool in self._pools:
            pool.wait_until_ready()
            threading.Thread(target=self._consume, args=[pool], daemon=True).start()

    def begin_close(self) -> None:
        """Stop waiting and taking events. A signal handler can call this."""
        self._closing = True

    def close(self) -> None:
        self.begin_close()
        for pool in self._pools:
            pool.close()

    def watch(self, queue_url: str, on_event: Callable[[dict[str, Any]], None]) -> None:
        """Call `on_event`, from another thread, with each event in the queue."""
        threading.Thread(target=self._drain, args=[queue_url, on_event], daemon=True).start()

    def wait_until_idle(self) -> None:
        """Wait until the subscribers have handled every event on the bus, or until they close."""
        sqs = self._aws.client("sqs")
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        for pool in self._pools:
            inbox = pool.function.inbox
            while not self._closing:
                attributes = sqs.get_queue_attributes(QueueUrl=inbox, AttributeNames=names)["Attributes"]
                if set(attributes.values()) == {"0"}:
                    break
                time.sleep(0.01)

    def reached(self, event_id: str) -> list[str]:
        """Return the subscribers that handled the event, sorted. A subscriber is repeated for each time it did."""
        return sorted(self._arrivals[event_id])

    def _consume(self, pool: FunctionPool) -> None:
        def invoke(event: dict[str, Any]) -> None:
            arrival = pool.function.short_name
            try:
                pool.invoke(event).result()
            except Exception as error:  # noqa: BLE001  # a function can raise anything
                arrival += f" failed ({type(error).__name__})"
            self._arrivals[event["detail"].get("id", "")].append(arrival)

        self._drain(pool.function.inbox, invoke)

    def _drain(self, queue_url: str | None, handle: Callable[[dict[str, Any]], None]) -> None:
        sqs = self._aws.client("sqs")
        try:
            while not self._closing:
                received = sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=1, MaxNumberOfMessages=10)
                for message in received.get("Messages", []):
                    handle(json.loads(message["Body"]))
                    sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        except BotoCoreError:
            # The embedded AWS stops before these threads do.
            if not self._closing:
                raise
