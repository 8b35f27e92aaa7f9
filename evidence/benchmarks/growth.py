"""Measure how the CPU time of an accepted delivery grows with the body, the signatures, the keys and the table."""

from collections.abc import Iterator, Mapping
from statistics import linear_regression, median
from typing import Any, NamedTuple

from evidence.benchmarks.cold import Advance
from evidence.benchmarks.testbed import Contender, Endpoints, Testbed, delivery
from evidence.benchmarks.warm import deliver, running
from openai_webhooks_cli import samples
from tests.support.in_memory_aws import Item
from tests.support.lambda_runtime import Instance

BODIES = (200, 2_000, 20_000, 200_000, 1_000_000)
SIGNATURES = (1, 2, 4, 8, 16, 32)
KEYS = (1, 2, 4, 8)
RECORDS = (10, 1_000_000)


class Curve(NamedTuple):
    points: Mapping[int, float]
    """The CPU seconds at each size."""

    @property
    def slope(self) -> float:
        """The CPU seconds for one more, by least squares."""
        return linear_regression(list(self.points), list(self.points.values())).slope


def summary(curve: Curve) -> dict[str, Any]:
    """Return the curve in microseconds."""
    points = {str(size): seconds * 1e6 for size, seconds in curve.points.items()}
    return {"points": points, "slope": curve.slope * 1e6}


async def curves(
    ours: Contender, testbed: Testbed, endpoints: Endpoints, *, deliveries: int, advance: Advance
) -> dict[str, Curve]:
    """Measure the receiver's curves, by what grows."""
    secrets = [samples.new_secret() for _ in range(max(KEYS) - 1)] + [samples.DEVELOPMENT_SECRET]
    empty = len(samples.encode(samples.sample("response.completed", created_at=10**9))) + len(',"padding":""')

    async def curve(instance: Instance, cases: Mapping[int, Iterator[bytes]]) -> Curve:
        samples_by_size: dict[int, list[float]] = {size: [] for size in cases}
        for _ in range(deliveries):
            for size, events in cases.items():
                samples_by_size[size].append((await deliver(instance, next(events), [200])).cpu)
        advance()
        return Curve({size: median(of) for size, of in samples_by_size.items()})

    result: dict[str, Curve] = {}
    environment = testbed.environment(ours, **endpoints.plain)
    async with running(ours, environment) as instance:
        result["bytes of body"] = await curve(instance, {size: _events(padding=size - empty) for size in BODIES})
        result["signatures"] = await curve(instance, {count: _events(signatures=count) for count in SIGNATURES})
        result["records"] = await curve(instance, {count: _events_to_a_table(testbed, count) for count in RECORDS})
        testbed.aws.table.items = {}
    _store(testbed, " ".join(secrets))
    async with running(ours, environment) as instance:
        result["keys"] = await curve(instance, {count: _events(secret=secrets[count - 1]) for count in KEYS})
    _store(testbed, samples.DEVELOPMENT_SECRET)
    return result


def _events(*, padding: int = 0, signatures: int = 1, secret: str = samples.DEVELOPMENT_SECRET) -> Iterator[bytes]:
    while True:
        yield delivery(padding=padding, signatures=signatures, secret=secret)


def _events_to_a_table(testbed: Testbed, records: int) -> Iterator[bytes]:
    items: dict[str, Item] = {str(key): {} for key in range(records)}
    for event in _events():
        testbed.aws.table.items = items
        yield event


def _store(testbed: Testbed, secret: str) -> None:
    testbed.aws.secret.put({"SecretId": testbed.aws.secret.id, "SecretString": secret})
