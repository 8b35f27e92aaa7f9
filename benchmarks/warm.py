"""Deliveries to processes that run already: accepted, duplicate, forged and stale ones."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain
from statistics import mean, quantiles
from typing import Any, NamedTuple

from benchmarks.cold import Advance
from benchmarks.rig import Contender, Endpoints, Rig, delivery
from proof.runtime import Instance
from webhooks import samples

STATUSES: Mapping[str, Sequence[int]] = {
    "accepted": [200],
    "duplicate": [200],
    "forged": [401],
    "stale": [400, 401],
}
"""Each kind of delivery, with the right answers to it."""

PROCESSES = 3
"""Of each contender, one after the other: in each, memory and hashes lie differently, and that has its price."""


class Delivered(NamedTuple):
    """In seconds."""

    cpu: float
    wall: float


class Batch(NamedTuple):
    deliveries: list[Delivered]
    calls: int
    """To AWS."""

    @property
    def cpu(self) -> float:
        """The mean: what the batch took as a whole is known best."""
        return mean(delivered.cpu for delivered in self.deliveries)


async def deliver(instance: Instance, event: bytes, statuses: Sequence[int]) -> Delivered:
    """Hand over a delivery, and wait until the process has nothing left to do for it."""
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
    """A process that has had its first deliveries of each kind."""
    instance = await Instance.start([contender.path], environment)
    try:
        for kind in STATUSES:
            for _ in range(10):
                await deliver(instance, _delivery(contender, kind), STATUSES[kind])
        yield instance
    finally:
        instance.kill()


async def batches(
    contenders: Sequence[Contender], rig: Rig, endpoints: Endpoints, *, rounds: int, size: int, advance: Advance
) -> dict[str, dict[str, list[Batch]]]:
    """By contender and kind, a batch for each round, in random order. Every few rounds, each has a new process."""
    result: dict[str, dict[str, list[Batch]]] = {
        contender.name: {kind: [] for kind in STATUSES} for contender in contenders
    }
    turns = [(contender, kind) for contender in contenders for kind in STATUSES]
    for _ in range(PROCESSES):
        async with AsyncExitStack() as stack:
            instances = {
                contender.name: await stack.enter_async_context(
                    running(contender, rig.environment(contender, **endpoints.plain))
                )
                for contender in contenders
            }
            for _ in range(rounds // PROCESSES):
                for contender, kind in random.sample(turns, len(turns)):
                    instance, before = instances[contender.name], rig.calls
                    delivered = [
                        await deliver(instance, _delivery(contender, kind), STATUSES[kind]) for _ in range(size)
                    ]
                    result[contender.name][kind].append(Batch(delivered, rig.calls - before))
                    advance()
    return result


async def memory(contenders: Sequence[Contender], rig: Rig, endpoints: Endpoints) -> dict[str, int]:
    """The peaks, in bytes, over TLS as in Lambda."""
    peaks = {}
    for contender in contenders:
        async with running(contender, rig.environment(contender, **endpoints.tls)) as instance:
            peaks[contender.name] = instance.peak_memory()
    return peaks


async def after_pauses(
    contenders: Sequence[Contender], rig: Rig, endpoints: Endpoints, *, rounds: int, advance: Advance
) -> dict[str, list[Delivered]]:
    """By contender, accepted deliveries before each of which AWS ends all connections, as happens to idle ones."""
    result: dict[str, list[Delivered]] = {contender.name: [] for contender in contenders}
    async with AsyncExitStack() as stack:
        instances = {
            contender.name: await stack.enter_async_context(
                running(contender, rig.environment(contender, **endpoints.tls))
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
    contender: Contender, rig: Rig, endpoints: Endpoints, *, processes: int, size: int
) -> tuple[list[Delivered], float]:
    """As many processes at once, each with accepted deliveries one after the other; and deliveries a second."""
    async with AsyncExitStack() as stack:
        environment = rig.environment(contender, **endpoints.plain)
        instances = [await stack.enter_async_context(running(contender, environment)) for _ in range(processes)]

        async def stream(instance: Instance) -> list[Delivered]:
            return [await deliver(instance, delivery(), STATUSES["accepted"]) for _ in range(size)]

        began = time.perf_counter()
        delivered = list(chain.from_iterable(await asyncio.gather(*map(stream, instances))))
        return delivered, len(delivered) / (time.perf_counter() - began)


def figures(batches: Sequence[Batch]) -> dict[str, Any]:
    """Of one contender and kind: percentiles in microseconds, and calls to AWS for each delivery."""
    delivered = list(chain.from_iterable(batch.deliveries for batch in batches))
    return percentiles(delivered) | {"calls": sum(batch.calls for batch in batches) / len(delivered)}


def percentiles(delivered: Sequence[Delivered]) -> dict[str, Any]:
    """In microseconds."""
    result: dict[str, Any] = {}
    for field in Delivered._fields:
        hundredths = quantiles([getattr(one, field) * 1e6 for one in delivered], n=100, method="inclusive")
        result[f"{field}_us"] = {"p50": hundredths[49], "p99": hundredths[98]}
    return result


def _delivery(contender: Contender, kind: str) -> bytes:
    # The one that has been delivered before is the contender's own.
    webhook_id = f"wh_{contender.name}" if kind == "duplicate" else samples.new_id("wh_")
    return delivery(kind, webhook_id=webhook_id)
