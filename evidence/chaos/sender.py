"""OpenAI's part: send each delivery, and retry it until a 2xx or for 72 hours."""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from itertools import count
from math import ceil
from typing import Any

from evidence.chaos.deliveries import Delivery
from evidence.chaos.faults import kill
from evidence.chaos.receivers import Clock, Process, Receivers
from evidence.chaos.seeded_random import Draw

HOUR = 3600
RETRIED_FOR = 72 * HOUR
PATIENCE = 3  # seconds that the sender waits for an answer
HASTE = 0.01  # share of attempts for which it waits a few milliseconds only, and then retries immediately
COPIES = 0.02  # share of attempts that are sent twice at the same time
LATE_COPIES = 0.05  # share of deliveries that are sent again within 72 hours after they were accepted

type Action = Callable[[], Coroutine[None, None, None]]
type Secrets = Callable[[float, str], list[str]]
"""Returns the secrets that OpenAI signs an attempt with, by the time and a name of the attempt."""


def backoff(attempt: int) -> float:
    """Return the seconds from an attempt, counted from 1, to the next: 5 s, 30 s, 3 min, 18 min, 1.8 h, then 10 h."""
    return min(5.0 * 6.0 ** (attempt - 1), 10.0 * HOUR)


class Sender:
    """Runs in the tasks of `group`. `settled` is called when a delivery was accepted or given up."""

    def __init__(
        self,
        group: asyncio.TaskGroup,
        receivers: Receivers,
        clock: Clock,
        draw: Draw,
        *,
        secrets: Secrets,
        settled: Callable[[], None],
    ) -> None:
        self._group, self._receivers, self._clock, self._draw = group, receivers, clock, draw
        self._secrets, self._settled = secrets, settled
        self._agenda: list[tuple[float, int, Action]] = []
        self._order = count()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Event()
        self.given_up = 0

    def deliver(self, delivery: Delivery) -> None:
        """Schedule a delivery."""
        self.at(delivery.due, lambda: self._attempt(delivery, 1))

    def at(self, due: float, action: Action) -> None:
        """Schedule an action at a simulated time."""
        heapq.heappush(self._agenda, (due, next(self._order), action))
        self._changed.set()

    async def run(self, *, until: Callable[[], bool]) -> None:
        """Do what is due, then move the clock to what is due next, until `until` or until nothing is left."""
        while (self._agenda or self._tasks) and not until():
            self._changed.clear()
            while self._agenda and self._agenda[0][0] <= self._clock.now():
                self._begin(heapq.heappop(self._agenda)[2]())
            if self._tasks:
                wait = self._agenda[0][0] - self._clock.now() if self._agenda else None
                await _wait(self._changed, wait)
            elif self._agenda:
                self._clock.leap(self._agenda[0][0])
        for task in self._tasks:
            task.cancel()

    def _begin[Outcome](self, work: Coroutine[None, None, Outcome]) -> asyncio.Task[Outcome]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.remove(task)
        self._changed.set()

    async def _attempt(self, delivery: Delivery, number: int) -> None:
        name = delivery.webhook_id, delivery.intruder, number
        if self._draw("copy", *name) < COPIES:
            self._begin(self._copy(delivery, f"copy of {number}"))
        hasty = self._draw("haste", *name) < HASTE
        patience = self._draw("patience", *name) * 0.01 if hasty else PATIENCE
        accepted = await self._send(delivery, str(number), patience=patience)
        if delivery.intruder:
            return
        now = self._clock.now()
        if accepted:
            self._settled()
            if self._draw("late", *name) < LATE_COPIES:
                due = now + self._draw("lateness", *name) * (RETRIED_FOR - HOUR)
                self.at(_rounded(due, HOUR), lambda: self._copy(delivery, "late copy"))
        elif now >= delivery.due + RETRIED_FOR:
            self.given_up += 1
            self._settled()
        else:
            pause = 0 if hasty else backoff(number)
            due = min(_rounded(now + pause, pause / 10), delivery.due + RETRIED_FOR)
            self.at(due, lambda: self._attempt(delivery, number + 1))

    async def _copy(self, delivery: Delivery, name: str) -> None:
        await self._send(delivery, name, patience=PATIENCE)

    async def _send(self, delivery: Delivery, name: str, *, patience: float) -> bool:
        """Send a delivery. Return whether it was accepted within the sender's patience, in seconds."""
        process = await self._receivers.idle()
        invocation = self._begin(self._invoke(process, delivery, name))
        await asyncio.wait({invocation}, timeout=patience)
        return invocation.done() and invocation.result()

    async def _invoke(self, process: Process, delivery: Delivery, attempt: str) -> bool:
        name = delivery.webhook_id, delivery.intruder, attempt
        invocation = await self._receivers.invoke(
            process,
            delivery,
            secrets=self._secrets(self._clock.now(), repr(name)),
            attempt=attempt,
            kill=kill(self._draw, *name),
        )
        return invocation.status is not None and invocation.status < 300


def _rounded(due: float, step: float) -> float:
    """Round a time up, so that attempts that are due at about the same time are sent together."""
    return ceil(due / step) * step if step else due


async def _wait(changed: asyncio.Event, seconds: float | None) -> None:
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        pass
