"""The subscribers' functions: Lambda's asynchronous invocations, and a record of the events that reached them."""

import json
import queue
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from openai_webhooks_cli.local.event_bridge import Event, Invocation, iso_time
from openai_webhooks_cli.local.function_pool import Function, FunctionFailed, FunctionPool
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION

RETRY_SECONDS = (1.0, 2.0)
"""The pauses before the retries. Lambda waits for one minute, and then for two."""
_REMEMBERED = 50_000  # arrivals


class Arrival(NamedTuple):
    """An event that a subscriber was invoked with."""

    subscriber: str
    event: Event
    """As it is on the bus, even if the rule passes something else to the function."""
    failure: str
    """Empty if the function handled the event."""
    result: Any
    """What the function returned."""
    seconds: float
    log: Sequence[str]
    rule: str = ""
    """The rule's name. Empty if no rule invoked the function."""
    attempt: int = 1
    next_step: str = ""
    """What happens to the event after a failure, for people."""

    def __str__(self) -> str:
        parts = (f"{self.subscriber} failed: {self.failure}", self.next_step) if self.failure else (self.subscriber,)
        return ", ".join(filter(None, parts))


class Subscribers:
    """Functions that are invoked asynchronously, each with one event at a time, or directly by `invoke`.

    If a function fails, the event is retried as in Lambda, after shorter pauses. After the last attempt it goes to the
    function's queue for failures.

    `before_invoke` is called with each event before a function gets it, and `on_arrival` after the function has ended.
    `on_problem` is called with what keeps a function from starting. `send_message` puts a body and attributes into the
    SQS queue with an ARN.
    """

    def __init__(
        self,
        functions: Iterable[Function],
        *,
        logs: Path,
        send_message: Callable[[str, str, Mapping[str, str]], None],
        before_invoke: Callable[[Any], None],
        on_problem: Callable[[str], None],
        on_arrival: Callable[[Arrival], None],
    ) -> None:
        self.pools = [FunctionPool(function, logs=logs) for function in functions]
        self._send_message = send_message
        self._before_invoke = before_invoke
        self._on_problem = on_problem
        self._on_arrival = on_arrival
        self._arrivals: deque[Arrival] = deque(maxlen=_REMEMBERED)
        self._waiting: dict[str, queue.SimpleQueue[tuple[Invocation, int] | None]] = {
            pool.function.name: queue.SimpleQueue() for pool in self.pools
        }
        """Invocations with the number of the attempt, by the function's name. None is the end."""
        self._unfinished = 0
        self._idle = threading.Condition()
        self._closing = False

    def start(self) -> None:
        """Wait until the functions are ready, or cannot start. Then pass events to them."""
        for pool in self.pools:
            self._wait_until_ready(pool)
            threading.Thread(target=self._work, args=[pool], daemon=True).start()

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

    def invoke_later(self, invocation: Invocation) -> None:
        """Invoke a function asynchronously."""
        with self._idle:
            self._unfinished += 1
        self._waiting[invocation.function].put((invocation, 1))

    def run_again(self, subscriber: str, event: Event) -> None:
        """Invoke a subscriber's function with an event. Raises ValueError if there is no such subscriber."""
        names = [pool.function.name for pool in self.pools if pool.function.short_name == subscriber]
        if not names:
            raise ValueError(f"There is no subscriber {subscriber}.")
        self.invoke_later(Invocation(names[0], event, event))

    def restart(self, pool: FunctionPool) -> bool:
        """Restart a function whose code has changed. Return whether it starts."""
        pool.restart()
        return self._wait_until_ready(pool)

    def close(self) -> None:
        self._closing = True
        for pool in self.pools:
            self._waiting[pool.function.name].put(None)
            pool.close()

    def wait_until_idle(self) -> None:
        """Wait until each event on the bus has reached its subscribers once. Retries may be left."""
        with self._idle:
            self._idle.wait_for(lambda: not self._unfinished)

    def arrivals(self, *, event_id: str = "", eventbridge_id: str = "") -> list[Arrival]:
        """Return the arrivals of an event, by OpenAI's or by EventBridge's id, sorted by subscriber."""
        found = [
            arrival
            for arrival in self._arrivals.copy()
            if (eventbridge_id and arrival.event["id"] == eventbridge_id)
            or (event_id and arrival.event["detail"].get("id") == event_id)
        ]
        return sorted(found, key=lambda arrival: arrival.subscriber)

    def _wait_until_ready(self, pool: FunctionPool) -> bool:
        try:
            for warning in pool.wait_until_ready():
                self._on_problem(warning)
        except FunctionFailed as error:
            self._on_problem(f"{pool.function.short_name} does not start: {error}\n{error.details}")
            return False
        return True

    def _work(self, pool: FunctionPool) -> None:
        while (waiting := self._waiting[pool.function.name].get()) and not self._closing:
            invocation, attempt = waiting
            self._before_invoke(invocation.event)
            start, failure, next_step, result = time.perf_counter(), "", "", None
            try:
                result, log = pool.invoke(invocation.input)
            except FunctionFailed as error:
                failure, log = str(error), error.log
            seconds = time.perf_counter() - start
            if failure:
                next_step = self._after_failure(pool.function, invocation, attempt, failure)
            name, event, rule = pool.function.short_name, invocation.event, invocation.rule
            arrival = Arrival(name, event, failure, result, seconds, log, rule, attempt, next_step)
            self._arrivals.append(arrival)
            self._on_arrival(arrival)
            if attempt == 1:
                with self._idle:
                    self._unfinished -= 1
                    self._idle.notify_all()

    def _after_failure(self, function: Function, invocation: Invocation, attempt: int, failure: str) -> str:
        """Retry an event later, or send it to the function's queue. Return which, for people."""
        if self._closing:
            return "not again"
        if attempt <= function.retries:
            pause = RETRY_SECONDS[attempt - 1]
            retry = threading.Timer(pause, self._waiting[function.name].put, [(invocation, attempt + 1)])
            retry.daemon = True
            retry.start()
            return f"again in {pause:.0f} s"
        request_id = str(uuid.uuid4())
        if function.on_failure:
            self._send_message(function.on_failure, _record(function, invocation, attempt, failure, request_id), {})
        if function.dead_letters:
            attributes = {"RequestID": request_id, "ErrorCode": "200", "ErrorMessage": failure}
            self._send_message(function.dead_letters, json.dumps(invocation.input), attributes)
        queues = [arn.rpartition(":")[2] for arn in (function.on_failure, function.dead_letters) if arn]
        return f"now in {' and '.join(queues)}" if queues else "dropped: the function has no queue for failures"


def _record(function: Function, invocation: Invocation, attempts: int, failure: str, request_id: str) -> str:
    """Return what Lambda sends to a destination for failures.

    https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
    """
    error_type, _, message = failure.partition(": ")
    context = {
        "requestId": request_id,
        "functionArn": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function.name}:$LATEST",
        "condition": "RetriesExhausted",
        "approximateInvokeCount": attempts,
    }
    record = {
        "version": "1.0",
        "timestamp": iso_time(time.time()),
        "requestContext": context,
        "requestPayload": invocation.input,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorType": error_type, "errorMessage": message},
    }
    return json.dumps(record)
