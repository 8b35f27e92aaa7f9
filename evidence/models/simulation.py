"""Simulate a burst of deliveries, their limits on the way to the bus, and their retries.

The clock ticks every 100 ms. The simulation counts the deliveries of a tick instead of tracking each delivery.
evidence/reports/scale.md lists the assumptions.
"""

from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple

import numpy as np
import simpy
from numpy.typing import NDArray

from evidence.models import inputs
from evidence.models.inputs import GATEWAY, JITTER, PUT_EVENTS, QUOTAS, RETRY_DELAYS, WARM_CPU, WRITE

TICK = 0.1
ATTEMPTS = len(RETRY_DELAYS) + 1
# All in seconds.
PAUSE = 0.5  # average pause before botocore's second attempt, which is 0 to 1 s
IDLE = 600  # Lambda ends an idle environment after this time. It is assumed: AWS does not publish it.
GROWTH = 1_800  # After this time, an on-demand table accepts twice its peak.

type Numbers = NDArray[np.int64]
"""Numbers of deliveries, by the number of earlier attempts."""
type Process = Generator[simpy.Event]


class Quotas(NamedTuple):
    """Limits per second, except `api_burst` and `concurrency`."""

    api_rate: float
    api_burst: float
    concurrency: int
    writes: float
    put_events: float


class Result(NamedTuple):
    """Numbers of deliveries. Times are in seconds."""

    sent: int
    published: int
    given_up: int
    retries: int
    refused: Mapping[str, int]
    """Refused attempts, by what refused them."""
    first_time: int
    """Published at the first attempt."""
    peak_backlog: int
    """The most deliveries that waited for a retry at the same time."""
    without_deduplication: int
    """Attempts for which the table failed."""
    environments: int
    """Environments started in total."""
    seconds: float
    """Time from the first delivery until the last event is on the bus."""
    p50: float
    p99: float
    """Percentile of the time to the 200, like `p50`."""


class Bucket:
    """A token bucket with a rate per second and a burst."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = self._tokens = burst
        self._at = 0.0

    def take(self, wanted: int, now: float) -> int:
        """Take up to `wanted` tokens and return their number."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        taken = min(wanted, int(self._tokens + 1e-6))
        self._tokens -= taken
        return taken


class Environments:
    """Lambda's environments of one function. Warm environments are reused, and new ones start within the quotas."""

    def __init__(self, concurrency: int, service: float) -> None:
        self.started = 0
        self._concurrency = concurrency
        self._service = service
        self._warm = self._starting = 0
        self._free = 0.0  # idle seconds of all warm environments together
        self._at = 0.0
        requests = concurrency * QUOTAS["requests"].value
        self._requests = Bucket(requests, requests)
        self._ramp = Bucket(QUOTAS["ramp"].value / 10, QUOTAS["ramp"].value)

    def take(self, wanted: int, now: float) -> tuple[int, int]:
        """Return how many deliveries start on warm environments, and how many start a new environment each."""
        elapsed, self._at = now - self._at, now
        if elapsed > IDLE:
            self._warm, self._free = 0, 0.0
        self._free = min(self._free + self._warm * elapsed, self._warm * max(TICK, self._service))
        wanted = self._requests.take(wanted, now)
        warm = max(0, min(wanted, int(self._free / self._service + 1e-6)))
        self._free -= warm * self._service
        room = self._concurrency - self._warm - self._starting
        cold = self._ramp.take(min(wanted - warm, room), now)
        self._starting += cold
        self.started += cold
        return warm, cold

    def warmed(self, number: int) -> None:
        """Mark starting environments as warm."""
        self._starting -= number
        self._warm += number

    def hold(self, seconds: float) -> None:
        """Occupy warm environments for a time in total."""
        self._free -= seconds


class Table:
    """An on-demand table: some time after a peak, it accepts twice that peak."""

    def __init__(self, env: simpy.Environment, writes: float) -> None:
        self._env = env
        self._rate = writes
        self._bucket = Bucket(writes, writes)
        self._peak = writes / 2
        self._second = self._in_second = 0

    def take(self, wanted: int, now: float) -> int:
        """Write up to `wanted` items and return their number."""
        taken = self._bucket.take(wanted, now)
        if int(now) != self._second:
            self._second, self._in_second = int(now), 0
        self._in_second += taken
        if (peak := min(self._in_second, self._rate)) > self._peak:
            self._peak = peak
            self._env.process(self._grow(2 * self._peak))
        return taken

    def _grow(self, writes: float) -> Process:
        yield self._env.timeout(GROWTH / TICK)
        self._rate = max(self._rate, min(writes, QUOTAS["table"].value))
        self._bucket = Bucket(self._rate, self._rate)


class Simulation:
    """One stack in one region. simpy's time is in ticks."""

    def __init__(
        self, quotas: Quotas, *, memory: int, rng: np.random.Generator, published: Callable[[int], None]
    ) -> None:
        self._env = simpy.Environment()
        self._rng = rng
        self._memory = memory
        self._on_published = published
        self._gateway = Bucket(quotas.api_rate, quotas.api_burst)
        self._environments = Environments(quotas.concurrency, inputs.warm_seconds(memory))
        self._table = Table(self._env, quotas.writes)
        self._bus = Bucket(quotas.put_events, quotas.put_events)
        self._due: dict[int, Numbers] = {}
        self._refused = {"API Gateway": 0, "Lambda": 0, "EventBridge": 0}
        self._published = np.zeros(ATTEMPTS, int)
        self._given_up = self._retries = self._backlog = self._peak_backlog = self._without = 0
        self._last = 0.0
        self._answers: list[NDArray[np.float64]] = []

    def run(self, arrivals: NDArray[np.int64]) -> Result:
        """Send `arrivals` new deliveries in each tick, and retry until none is left."""
        for tick, number in enumerate(arrivals.tolist()):
            self._send(tick, 0, number)
        self._env.run()
        p50, p99 = np.percentile(np.concatenate(self._answers), [50, 99]).tolist() if self._answers else (0.0, 0.0)
        return Result(
            sent=int(arrivals.sum()),
            published=int(self._published.sum()),
            given_up=self._given_up,
            retries=self._retries,
            refused=self._refused,
            first_time=int(self._published[0]),
            peak_backlog=self._peak_backlog,
            without_deduplication=self._without,
            environments=self._environments.started,
            seconds=self._last,
            p50=p50,
            p99=p99,
        )

    @property
    def _now(self) -> float:
        """The simulated time in seconds."""
        return float(self._env.now * TICK)

    def _send(self, tick: int, attempt: int, number: int) -> None:
        if tick not in self._due:
            self._due[tick] = np.zeros(ATTEMPTS, int)
            self._env.process(self._attempt(tick))
        self._due[tick][attempt] += number

    def _attempt(self, tick: int) -> Process:
        yield self._env.timeout(tick - self._env.now)
        due = self._due.pop(tick)
        again = int(due[1:].sum())
        self._backlog -= again
        self._retries += again

        admitted = self._split(due, self._gateway.take(int(due.sum()), self._now))
        self._refuse("API Gateway", due - admitted)
        warm, cold = self._environments.take(int(admitted.sum()), self._now)
        invoked = self._split(admitted, warm + cold)
        self._refuse("Lambda", admitted - invoked)
        served_cold = self._split(invoked, cold)
        self._publish(invoked - served_cold, waited=0.0)
        if cold:
            self._env.process(self._start(served_cold))

    def _start(self, numbers: Numbers) -> Process:
        waited = inputs.start_seconds(self._memory)
        yield self._env.timeout(round(waited / TICK))
        self._environments.warmed(int(numbers.sum()))
        self._publish(numbers, waited=waited)

    def _publish(self, numbers: Numbers, *, waited: float) -> None:
        number = int(numbers.sum())
        # Two writes: the claim, and the record, or the release if nothing was published.
        deduplicated = self._table.take(2 * number, self._now) // 2
        on_bus = self._bus.take(number, self._now)
        self._environments.hold(PAUSE * (number - deduplicated + number - on_bus))
        published = self._split(numbers, on_bus)
        self._refuse("EventBridge", numbers - published)
        self._without += number - deduplicated
        if on_bus:
            self._published += published
            self._last = self._now
            self._answers.append(self._times(on_bus, paused=min(on_bus, number - deduplicated)) + waited)
            self._on_published(on_bus)

    def _refuse(self, by: str, numbers: Numbers) -> None:
        self._refused[by] += int(numbers.sum())
        self._given_up += int(numbers[-1])
        for attempt, (delay, number) in enumerate(zip(RETRY_DELAYS, numbers.tolist(), strict=False), start=1):
            if number:
                due = round(self._env.now + delay / TICK)
                drawn = self._rng.integers(due, due + round(delay * JITTER / TICK), number, endpoint=True)
                for tick, count in zip(*(of.tolist() for of in np.unique(drawn, return_counts=True)), strict=True):
                    self._send(tick, attempt, count)
        self._backlog += int(numbers[:-1].sum())
        self._peak_backlog = max(self._peak_backlog, self._backlog)

    def _split(self, numbers: Numbers, wanted: int) -> Numbers:
        """Choose `wanted` of the deliveries at random."""
        if wanted == numbers.sum():
            return numbers
        return self._rng.multivariate_hypergeometric(numbers, wanted, method="marginals")

    def _times(self, number: int, *, paused: int) -> NDArray[np.float64]:
        """Return the seconds to the answers. The first `paused` wait for a second attempt to write to the table."""
        times = np.full(number, inputs.stretched(WARM_CPU.value, self._memory))
        for call in (GATEWAY, WRITE, PUT_EVENTS, WRITE):
            times += call.median * self._rng.lognormal(0, call.sigma, number)
        times[:paused] += self._rng.uniform(0, 2 * PAUSE, paused)
        return times
