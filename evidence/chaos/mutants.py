"""Run the chaos experiment on each mutant, a receiver that is broken on purpose, until a check detects it."""

import asyncio
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from evidence.chaos import experiment, mutations
from tests.support.lambda_runtime import Function

AT_ONCE = 4  # mutants that run at the same time
PROCESSES = 5
DELIVERIES = 300
BURSTS = 24

MUTANTS: Final = {
    name: inspect.getdoc(function) or ""
    for name, function in vars(mutations).items()
    if inspect.isfunction(function) and function.__module__ == mutations.__name__ and not name.startswith("_")
}
"""What each mutant does wrong, by the name of its mutation."""


class Detection(NamedTuple):
    mutant: str
    check: str
    """The check that detected it, or "" if none did."""
    invocations: int
    """How many were needed."""


async def run(seed: int, *, artifact: Path, function: Function, done: Callable[[], None]) -> list[Detection]:
    """Run every mutant. `done` is called after each."""
    free = asyncio.Semaphore(AT_ONCE)

    async def detect(mutant: str) -> Detection:
        async with free:
            found = await experiment.run(
                experiment.Plan(seed, DELIVERIES, BURSTS, PROCESSES),
                artifact=artifact,
                function=function._replace(environment={**function.environment, "MUTATION": mutant}),
                settled=lambda: None,
                report=lambda _: None,
                until_violation=True,
            )
        done()
        return Detection(mutant, next(iter(found.violations), ""), found.counts["invocations"])

    return list(await asyncio.gather(*map(detect, MUTANTS)))
