"""The subscribers: EventBridge's part in invoking them, and which of them an event has reached."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError

from webhooks.embedded import Aws
from webhooks.instances import Function, Instances


class Subscribers:
    """Functions whose inboxes rules fill. Each is handed its events one by one; one that fails is not tried again."""

    def __init__(self, aws: Aws, functions: Iterable[Function], *, log: Path) -> None:
        self._aws = aws
        self._instances = [Instances(function, log=log) for function in functions]
        self._arrivals: dict[str, list[str]] = defaultdict(list)
        self._ending = threading.Event()

    def start(self) -> None:
        """Wait for the functions to be ready, then begin to hand them events."""
        for instances in self._instances:
            instances.wait()
            threading.Thread(target=self._consume, args=[instances], daemon=True).start()

    def close(self) -> None:
        self._ending.set()
        for instances in self._instances:
            instances.close()

    def watch(self, queue_url: str, seen: Callable[[dict[str, Any]], None]) -> None:
        """Call `seen`, from another thread, with each event that comes into the queue."""
        threading.Thread(target=self._drain, args=[queue_url, seen], daemon=True).start()

    def settle(self) -> None:
        """Wait until every event that is on the bus has been handled by the subscribers that it reaches."""
        sqs = self._aws.client("sqs")
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        for instances in self._instances:
            inbox = instances.function.inbox
            while set(sqs.get_queue_attributes(QueueUrl=inbox, AttributeNames=names)["Attributes"].values()) != {"0"}:
                time.sleep(0.01)

    def reached(self, event_id: str) -> list[str]:
        """The subscribers that have handled the event, in alphabetical order, each as often as it has."""
        return sorted(self._arrivals[event_id])

    def _consume(self, instances: Instances) -> None:
        def invoke(event: dict[str, Any]) -> None:
            arrival = instances.function.title
            try:
                instances.invoke(event).result()
            except Exception as error:  # noqa: BLE001  # whatever a function raises
                arrival += f" failed ({type(error).__name__})"
            self._arrivals[event["detail"].get("id", "")].append(arrival)

        self._drain(instances.function.inbox, invoke)

    def _drain(self, queue_url: str | None, handle: Callable[[dict[str, Any]], None]) -> None:
        sqs = self._aws.client("sqs")
        try:
            while not self._ending.is_set():
                received = sqs.receive_message(QueueUrl=queue_url, WaitTimeSeconds=1, MaxNumberOfMessages=10)
                for message in received.get("Messages", []):
                    handle(json.loads(message["Body"]))
                    sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        except BotoCoreError:
            if not self._ending.is_set():
                raise
