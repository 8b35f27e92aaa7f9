import numpy as np
import pytest
import simpy

from evidence.models import inputs
from evidence.models.simulation import GROWTH, PAUSE, TICK, Bucket, Environments, Quotas, Result, Simulation, Table

AMPLE = Quotas(api_rate=1e6, api_burst=1e6, concurrency=100_000, writes=1e6, put_events=1e6)


def run(quotas: Quotas, arrivals: list[int], *, seed: int = 1) -> tuple[Result, list[int]]:
    """Return the result, and the numbers of events that reached the bus, in order."""
    published: list[int] = []
    rng = np.random.default_rng(seed)
    simulation = Simulation(quotas, memory=512, rng=rng, published=published.append)
    return simulation.run(np.array(arrivals)), published


@pytest.mark.parametrize(
    "quotas",
    [
        pytest.param(AMPLE, id="ample"),
        pytest.param(AMPLE._replace(api_rate=50, api_burst=10), id="API Gateway"),
        pytest.param(AMPLE._replace(concurrency=3), id="Lambda"),
        pytest.param(AMPLE._replace(writes=40), id="DynamoDB"),
        pytest.param(AMPLE._replace(put_events=20), id="EventBridge"),
        pytest.param(AMPLE._replace(api_rate=0.001, api_burst=5), id="almost nothing accepted"),
        pytest.param(Quotas(api_rate=100, api_burst=100, concurrency=5, writes=50, put_events=40), id="all of them"),
    ],
)
def test_every_delivery_is_published_or_given_up_once(quotas: Quotas) -> None:
    result, published = run(quotas, [20] * 100)

    assert result.sent == 2_000
    assert result.published + result.given_up == result.sent
    assert sum(published) == result.published
    assert result.sent + result.retries == result.published + sum(result.refused.values())


def test_delivery_is_given_up_after_72_hours() -> None:
    result, _ = run(AMPLE._replace(api_rate=1e-9, api_burst=5), [20])

    assert (result.published, result.given_up) == (5, 15)
    assert result.retries == 15 * len(inputs.RETRY_DELAYS)
    assert sum(inputs.RETRY_DELAYS) * (1 + inputs.JITTER) < 72 * 3_600


def test_schedule_contains_the_standards_retries_of_72_hours() -> None:
    assert sum(inputs.RETRY_DELAYS) == 51 * 3_600 + 35 * 60 + 5
    assert sum(inputs.RETRY_DELAYS) + 24 * 3_600 > 72 * 3_600


def test_retry_follows_the_schedule() -> None:
    # The first delivery passes. The next token is available after 100 s, between the retries after 5 s and 5 min.
    result, _ = run(AMPLE._replace(api_rate=0.01, api_burst=1), [2])

    assert (result.retries, result.given_up) == (2, 0)
    assert 305 <= result.seconds <= 305 * (1 + inputs.JITTER) + 2


def test_high_quotas_cause_no_retries() -> None:
    result, _ = run(AMPLE, [20] * 600)
    ticks = inputs.start_seconds(512) / TICK

    assert result.first_time == result.sent
    assert result.retries == result.without_deduplication == 0
    assert result.seconds == pytest.approx(60, abs=inputs.start_seconds(512) + TICK)
    # At a steady rate, environments start until the first is warm. From then on, there are enough.
    assert 20 * (ticks - 1) <= result.environments <= 20 * (ticks + 2)


def test_throttled_writes_keep_environments_busy() -> None:
    # 50 environments handle 1,400 deliveries per second, but fewer than 100 if each waits half a second for the table.
    ample, _ = run(AMPLE._replace(concurrency=50), [20] * 600)
    short, _ = run(AMPLE._replace(concurrency=50, writes=40), [20] * 600)

    assert ample.without_deduplication == 0 < short.without_deduplication
    assert short.refused["Lambda"] > 2 * ample.refused["Lambda"]
    assert short.p99 > ample.p50 + PAUSE


def test_answer_time_is_the_sum_of_its_parts() -> None:
    result, _ = run(AMPLE, [20] * 6_000)
    calls = (inputs.GATEWAY, inputs.WRITE, inputs.PUT_EVENTS, inputs.WRITE)
    work = inputs.stretched(inputs.WARM_CPU.value, 512)

    # The median of a sum of skewed times is between the sum of the medians and the sum of the means.
    assert work + sum(call.median for call in calls) < result.p50 < work + sum(call.mean for call in calls)


def test_same_seed_gives_same_result() -> None:
    quotas = Quotas(api_rate=100, api_burst=100, concurrency=5, writes=50, put_events=40)

    assert run(quotas, [20] * 100, seed=7) == run(quotas, [20] * 100, seed=7)
    assert run(quotas, [20] * 100, seed=7) != run(quotas, [20] * 100, seed=8)


@pytest.mark.parametrize(
    ("rate", "burst", "wanted", "expected"),
    [
        pytest.param(50, 100, 10, 100 + 50 * 60, id="more wanted than the rate"),
        pytest.param(50, 100, 5, 5 * 601, id="the rate wanted"),
        pytest.param(50, 100, 2, 2 * 601, id="less wanted than the rate"),
    ],
)
def test_bucket_gives_its_burst_and_its_rate(rate: float, burst: float, wanted: int, expected: int) -> None:
    bucket = Bucket(rate, burst)

    assert sum(bucket.take(wanted, tick * TICK) for tick in range(601)) == expected


@pytest.mark.parametrize(
    ("service", "per_second"),
    [
        pytest.param(0.25, 40, id="limited by the service time"),
        pytest.param(0.125, 80, id="limited by a short service time"),
        pytest.param(0.02, 100, id="limited by ten requests per second each"),
    ],
)
def test_saturated_environments_reach_their_rate(service: float, per_second: float) -> None:
    environments = Environments(10, service)
    assert environments.take(10, 0.0) == (0, 10)
    environments.warmed(10)
    served = [environments.take(1_000, 1 + tick * TICK) for tick in range(10_000)]

    assert sum(warm for warm, _ in served[100:]) == pytest.approx(990 * per_second, rel=0.001)
    assert not any(cold for _, cold in served)


def test_environments_start_at_the_ramp() -> None:
    environments = Environments(10_000, 0.05)
    started = 0
    for tick in range(101):
        _, cold = environments.take(1_000_000, tick * TICK)
        started += cold

    assert started == 1_000 + 100 * 10


def test_idle_environments_end() -> None:
    environments = Environments(10, 0.05)
    environments.take(10, 0.0)
    environments.warmed(10)

    assert environments.take(5, 60.0) == (5, 0)
    assert environments.take(5, 1_000.0) == (0, 5)


def test_table_accepts_twice_its_peak_after_half_an_hour() -> None:
    table = Table(simpy.Environment(), 4_000)
    env = table._env  # simpy's clock
    for second in range(10):
        table.take(4_000, float(second))
    assert table.take(10_000, 10.0) == 4_000
    env.run(until=GROWTH / TICK + 1)

    assert table.take(10_000, GROWTH + 1.0) == 8_000
