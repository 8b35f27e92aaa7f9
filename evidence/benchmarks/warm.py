"""Measure warm processes with accepted, duplicate, forged and stale deliveries."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from statistics import mean, quantiles
from typing import Any, NamedTuple

from evidence.benchmarks.cold import Advance
from evidence.benchmarks.testbed import Contender, Endpoints, Testbed, delivery
from openai_webhooks_cli import samples
from tests.support.lambda_runtime import Instance

STATUSES: Mapping[str, Sequence[int]] = {
    "accepted": [200],
    "duplicate": [200],
    "forged": [401],
    "stale": [400, 401],
}
"""Each kind of delivery, and the right statuses."""

PROCESSES = 3
"""Processes of each contender, one after the other. Their times differ, like their memory layouts and hash seeds."""


class Delivered(NamedTuple):
    """In seconds."""

    cpu: float
    wall: float


class Batch(NamedTuple):
    deliveries: list[Delivered]
    calls: int
    """Calls to AWS."""

    @property
    def cpu(self) -> float:
        """The mean, because the total of a batch is measured most accurately."""
        return mean(delivered.cpu for delivered in self.deliveries)


async def deliver(instance: Instance, event: bytes, statuses: Sequence[int]) -> Delivered:
    """Pass a delivery to the process, and wait until the process has finished."""
    await instance.settle()
    cpu, began = instance.cpu(), time.perf_counter()
    answer = json.loads(await instance.invoke(event, seconds=30))
    wall = time.perf_counter() - began
    await instance.settle()
    if answer["statusCode"] not in statuses:
        raise RuntimeError(f"not one of {statuses}: {answer}")
    return Delivered(instance.cpu() - cpu, wall)


@asynccontextmanager
async def running(contender: Contender, environment: Mapping[str, str]) -> AsyncIterator[Instance]:
    """Run a process that has handled ten deliveries of each kind."""
    instance = await Instance.start([contender.path], environment)
    try:
        for kind in STATUSES:
            for _ in range(10):
                await deliver(instance, _delivery(contender, kind), STATUSES[kind])
        yield instance
    finally:
        instance.kill()


async def batches(
    contenders: Sequence[Contender], testbed: Testbed, endpoints: Endpoints, *, rounds: int, size: int, advance: Advance
) -> dict[str, dict[str, list[Batch]]]:
    """Measure a batch of each contender and kind per round, in random order, with PROCESSES processes in turn."""
    result: dict[str, dict[str, list[Batch]]] = {
        contender.name: {kind: [] for kind in STATUSES} for contender in contenders
    }
    turns = [(contender, kind) for contender in contenders for kind in STATUSES]
    for _ in range(PROCESSES):
        async with AsyncExitStack() as stack:
            instances = {
                contender.name: await stack.enter_async_context(
                    running(contender, testbed.environment(contender, **endpoints.plain))
                )
                for contender in contenders
            }
            for _ in range(rounds // PROCESSES):
                for contender, kind in random.sample(turns, len(turns)):
                    instance, before = instances[contender.name], testbed.calls
                    delivered = [
                        await deliver(instance, _delivery(contender, kind), STATUSES[kind]) for _ in range(size)
                    ]
                    result[contender.name][kind].append(Batch(delivered, testbed.calls - before))
                    advance()
    return result


async def memory(contenders: Sequence[Contender], testbed: Testbed, endpoints: Endpoints) -> dict[str, int]:
    """Return the peak memory of each contender in bytes, with TLS as in Lambda."""
    peaks = {}
    for contender in contenders:
        async with running(contender, testbed.environment(contender, **endpoints.tls)) as instance:
            peaks[contender.name] = instance.peak_memory()
    return peaks


async def after_pauses(
    contenders: Sequence[Contender], testbed: Testbed, endpoints: Endpoints, *, rounds: int, advance: Advance
) -> dict[str, list[Delivered]]:
    """Measure accepted deliveries after AWS has closed all connections, as it does with idle connections."""
    result: dict[str, list[Delivered]] = {contender.name: [] for contender in contenders}
    async with AsyncExitStack() as stack:
        instances = {
            contender.name: await stack.enter_async_context(
                running(contender, testbed.environment(contender, **endpoints.tls))
            )
            for contender in contenders
        }
        for _ in range(rounds):
            for name in random.sample(list(instances), len(instances)):
                endpoints.hang_up()
                result[name].append(await deliver(instances[name], delivery(), STATUSES["accepted"]))
            advance()
    return result


async def side_by_side(
    contender: Contender, testbed: Testbed, endpoints: Endpoints, *, processes: int, size: int
) -> tuple[list[Delivered], float]:
    """Measure several processes at once. Return the deliveries, and the number of deliveries per second."""
    async with AsyncExitStack() as stack:
        environment = testbed.environment(contender, **endpoints.plain)
        instances = [await stack.enter_async_context(running(contender, environment)) for _ in range(processes)]

        async def stream(instance: Instance) -> list[Delivered]:
            return [await deliver(instance, delivery(), STATUSES["accepted"]) for _ in range(size)]

        began = time.perf_counter()
        delivered = list(chain.from_iterable(await asyncio.gather(*map(stream, instances))))
        return delivered, len(delivered) / (time.perf_counter() - began)


def summary(batches: Sequence[Batch]) -> dict[str, Any]:
    """Return percentiles in microseconds and the calls to AWS per delivery, for one contender and kind."""
    delivered = list(chain.from_iterable(batch.deliveries for batch in batches))
    return percentiles(delivered) | {"calls": sum(batch.calls for batch in batches) / len(delivered)}


def percentiles(delivered: Sequence[Delivered]) -> dict[str, Any]:
    """Return percentiles in microseconds."""
    result: dict[str, Any] = {}
    for field in Delivered._fields:
        hundredths = quantiles([getattr(one, field) * 1e6 for one in delivered], n=100, method="inclusive")
        result[f"{field}_us"] = {"p50": hundredths[49], "p99": hundredths[98]}
    return result


def _delivery(contender: Contender, kind: str) -> bytes:
    # Contenders share the table. Each has its own duplicate.
    webhook_id = f"wh_{contender.name}" if kind == "duplicate" else samples.new_id("wh_")
    return delivery(kind, webhook_id=webhook_id)
