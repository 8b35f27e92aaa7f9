"""The subscribers, with the part of EventBridge that invokes them, and a record of the events that reached them."""

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError

from openai_webhooks_cli.local.function_pool import Function, FunctionFailed, FunctionPool
from openai_webhooks_cli.local.moto_aws import MotoAws

_REMEMBERED = 50_000  # arrivals


class Arrival(NamedTuple):
    """An event that a subscriber was invoked with."""

    subscriber: str
    event: dict[str, Any]
    """As the bus passes it to targets."""
    failure: str
    """Empty if the function handled the event."""
    result: Any
    """What the function returned."""
    seconds: float
    log: Sequence[str]

    def __str__(self) -> str:
        return f"{self.subscriber} failed: {self.failure}" if self.failure else self.subscriber


class Subscribers:
    """Functions that take events from their inboxes, one at a time, or that `invoke` calls.

    An event whose function fails is not retried.

    `before_invoke` is called with each event before a function gets it, and `on_arrival` after the function has ended.
    `on_problem` is called with what keeps a function from starting.
    """

    def __init__(
        self,
        aws: MotoAws,
        functions: Iterable[Function],
        *,
        logs: Path,
        before_invoke: Callable[[Any], None],
        on_problem: Callable[[str], None],
        on_arrival: Callable[[Arrival], None],
    ) -> None:
        self._aws = aws
        self.pools = [FunctionPool(function, logs=logs) for function in functions]
        self._before_invoke = before_invoke
        self._on_problem = on_problem
        self._on_arrival = on_arrival
        self._arrivals: deque[Arrival] = deque(maxlen=_REMEMBERED)
        self._closing = False

    def start(self) -> None:
        """Wait until the functions are ready, or cannot start. Then pass events to them."""
        for pool in self.pools:
            self._wait_until_ready(pool)
            if pool.function.inbox:
                threading.Thread(target=self._consume, args=[pool], daemon=True).start()

    def invoke(self, name: str, event: Any) -> Any:
        """Invoke a function directly, by its name. Return its result. Raises FunctionFailed."""
        pool = next((pool for pool in self.pools if pool.function.name == name), None)
        if pool is None:
            raise FunctionFailed(f"Lambda.ResourceNotFoundException: no function has the name {name}")
        try:
            return pool.invoke(event).result
        except FunctionFailed as error:
            self._on_problem(f"{pool.function.short_name} failed: {error}")
            raise

    def restart(self, pool: FunctionPool) -> bool:
        """Restart a function whose code has changed. Return whether it starts."""
        pool.restart()
        return self._wait_until_ready(pool)

    def begin_close(self) -> None:
        """Stop waiting and taking events. A signal handler can call this."""
        self._closing = True

    def close(self) -> None:
        self.begin_close()
        for pool in self.pools:
            pool.close()

    def watch(self, queue_url: str, on_event: Callable[[dict[str, Any]], None]) -> None:
        """Call `on_event`, from another thread, with each event in the queue."""
        threading.Thread(target=self._drain, args=[queue_url, on_event], daemon=True).start()

    def wait_until_idle(self) -> None:
        """Wait until the subscribers have handled every event on the bus, or until they close."""
        sqs = self._aws.client("sqs")
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        for pool in self.pools:
            inbox = pool.function.inbox
            while inbox and not self._closing:
                attributes = sqs.get_queue_attributes(QueueUrl=inbox, AttributeNames=names)["Attributes"]
                if set(attributes.values()) == {"0"}:
                    break
                time.sleep(0.01)

    def arrivals(self, *, event_id: str = "", eventbridge_id: str = "") -> list[Arrival]:
        """Return the arrivals of an event, by OpenAI's or by EventBridge's id, sorted by subscriber."""
        found = [
            arrival
            for arrival in self._arrivals.copy()
            if (eventbridge_id and arrival.event.get("id") == eventbridge_id)
            or (event_id and arrival.event["detail"].get("id") == event_id)
        ]
        return sorted(found, key=lambda arrival: arrival.subscriber)

    def _wait_until_ready(self, pool: FunctionPool) -> bool:
        try:
            pool.wait_until_ready()
        except FunctionFailed as error:
            self._on_problem(f"{pool.function.short_name} does not start: {error}\n{error.details}")
            return False
        return True

    def _consume(self, pool: FunctionPool) -> None:
        def invoke(event: dict[str, Any]) -> None:
            self._before_invoke(event)
            start, failure, result = time.perf_counter(), "", None
            try:
                result, log = pool.invoke(event)
            except FunctionFailed as error:
                failure, log = str(error), error.log
            seconds = time.perf_counter() - start
            arrival = Arrival(pool.function.short_name, event, failure, result, seconds, log)
            self._arrivals.append(arrival)
            self._on_arrival(arrival)

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
