"""Copies of one delivery at the same moment, at different processes: exactly one copy is published."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evidence.chaos.deliveries import OLD_SECRET, Delivery, deliveries
from evidence.chaos.experiment import BEGIN
from evidence.chaos.journal import Invocation, Journal
from evidence.chaos.receivers import Clock, Receivers, running
from evidence.chaos.seeded_random import seeded_random
from tests.support.lambda_runtime import Function

COPIES = 8


class NoFaults:
    """A director that lets every call succeed."""

    def fault(self, invocation: Invocation, operation: str) -> str:  # noqa: ARG002  # Director's signature
        return ""

    def published(self, invocation: Invocation, entry: Mapping[str, Any]) -> None:
        """Do nothing: the journal has the publication."""

    def ended(self, invocation: Invocation) -> None:
        """Do nothing: each trial checks its own invocations."""


async def run(
    seed: int,
    trials: int,
    *,
    artifact: Path,
    function: Function,
    done: Callable[[], None],
    report: Callable[[str], None],
) -> tuple[Counter[str], int]:
    """Send each delivery eight times at once, then once more.

    `done` is called after each trial, `report` with what went wrong. Returns the number of each answer, and the number
    of trials that went wrong.
    """
    answers: Counter[str] = Counter()
    wrong = 0
    clock, journal = Clock(BEGIN), Journal()
    async with running(
        COPIES,
        artifact=artifact,
        function=function,
        secret=OLD_SECRET,
        clock=clock,
        journal=journal,
        director=NoFaults(),
    ) as (receivers, _):
        for delivery in deliveries(trials, seeded_random(seed), bursts=[clock.now()]):
            if delivery.intruder:
                continue
            copies = await asyncio.gather(*(_send(delivery, str(i), receivers) for i in range(COPIES)))
            later = await _send(delivery, "later", receivers)
            answers.update(f"{invocation.status} {invocation.outcome}" for invocation in copies)
            published = len(journal.publications[delivery.webhook_id])
            if published != 1 or not {copy.status for copy in copies} <= {200, 409} or later.status != 200:
                wrong += 1
                report(f"{delivery.webhook_id}: published {published} times, {copies}, {later}")
            done()
    return answers, wrong


async def _send(delivery: Delivery, attempt: str, receivers: Receivers) -> Invocation:
    process = await receivers.idle()
    return await receivers.invoke(process, delivery, secrets=[OLD_SECRET], attempt=attempt)
