"""Copies of one delivery at the same moment at different processes: exactly one of them publishes."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from proof.chance import seeded
from proof.chaos import BEGIN
from proof.deliveries import OLD_SECRET, Delivery, deliveries, request
from proof.journal import Invocation, Journal
from proof.receivers import Clock, Receivers, running
from webhooks.instances import Function

COPIES = 8


class Calm:
    """Nothing goes wrong."""

    def fault(self, invocation: Invocation, operation: str) -> str:  # noqa: ARG002
        return ""

    def published(self, invocation: Invocation, entry: Mapping[str, Any]) -> None:
        """The journal has it already."""

    def ended(self, invocation: Invocation) -> None:
        """Each trial looks at its invocations itself."""


async def run(
    seed: int,
    trials: int,
    *,
    artefact: Path,
    function: Function,
    done: Callable[[], None],
    tell: Callable[[str], None],
) -> tuple[Counter[str], int]:
    """Make each of so many deliveries eight times at once, then once more.

    `done` is called after each, `tell` with what went wrong. Returns how often each answer was given, and how many
    trials went wrong.
    """
    answers: Counter[str] = Counter()
    wrong = 0
    clock, journal = Clock(BEGIN), Journal()
    async with running(
        COPIES,
        artefact=artefact,
        function=function,
        secret=OLD_SECRET,
        clock=clock,
        journal=journal,
        director=Calm(),
    ) as (receivers, _):
        for delivery in deliveries(trials, seeded(seed), bursts=[clock.now()]):
            if delivery.intruder:
                continue
            copies = await asyncio.gather(*(_deliver(delivery, str(i), receivers, clock) for i in range(COPIES)))
            later = await _deliver(delivery, "later", receivers, clock)
            answers.update(f"{invocation.status} {invocation.outcome}" for invocation in copies)
            published = len(journal.publications[delivery.webhook_id])
            if published != 1 or not {copy.status for copy in copies} <= {200, 409} or later.status != 200:
                wrong += 1
                tell(f"{delivery.webhook_id}: published {published} times, {copies}, {later}")
            done()
    return answers, wrong


async def _deliver(delivery: Delivery, attempt: str, receivers: Receivers, clock: Clock) -> Invocation:
    process = await receivers.idle()
    made = request(delivery, secrets=[OLD_SECRET], now=int(clock.now()))
    return await receivers.invoke(process, delivery, made, attempt=attempt)
