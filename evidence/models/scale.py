"""Compute how many deliveries a deployment can handle: quotas at several rates, and bursts of a million events."""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from evidence import results
from evidence.markdown import table
from evidence.models import inputs
from evidence.models.inputs import (
    CONNECT,
    FIRST_CPU,
    GATEWAY,
    GET_SECRET,
    INIT_CPU,
    MEMORY,
    PARAMETERS,
    PLACEMENT,
    VCPU,
)
from evidence.models.simulation import TICK, Quotas, Result, Simulation

EVENTS = 1_000_000
RATES = (10, 1_000, 100_000)
MATCHING_RULES = 2  # the template's rule for the arrival log, and a subscriber's rule

DEPLOYED = Quotas(
    api_rate=PARAMETERS["ThrottlingRate"]["Default"],
    api_burst=PARAMETERS["ThrottlingBurst"]["Default"],
    concurrency=int(inputs.QUOTAS["concurrency"].value),
    writes=inputs.QUOTAS["writes"].value,
    put_events=inputs.QUOTAS["put_events"].value,
)
MAX_THROTTLING = DEPLOYED._replace(
    api_rate=PARAMETERS["ThrottlingRate"]["MaxValue"], api_burst=PARAMETERS["ThrottlingBurst"]["MaxValue"]
)
WARM_TABLE = MAX_THROTTLING._replace(writes=inputs.QUOTAS["table"].value)


def times(factor: int) -> Quotas:
    """Return all quotas and the template's throttling multiplied by a factor, with a warmed-up table."""
    return Quotas(
        api_rate=factor * MAX_THROTTLING.api_rate,
        api_burst=factor * MAX_THROTTLING.api_burst,
        concurrency=factor * MAX_THROTTLING.concurrency,
        writes=factor * inputs.QUOTAS["table"].value,
        put_events=factor * MAX_THROTTLING.put_events,
    )


class Scenario(NamedTuple):
    """A burst, distributed evenly over `seconds` and over `stacks`. Each stack has its own quotas."""

    name: str
    seconds: int
    quotas: Quotas
    memory: int = MEMORY
    stacks: int = 1


SCENARIOS = (
    Scenario("default parameters", 3_600, DEPLOYED),
    Scenario("default parameters", 600, DEPLOYED),
    Scenario("maximum throttling parameters", 600, MAX_THROTTLING),
    Scenario(f"the same, with {VCPU:,} MB", 600, MAX_THROTTLING, memory=VCPU),
    Scenario("maximum throttling parameters", 60, MAX_THROTTLING),
    Scenario("the same, with a warmed-up table", 60, WARM_TABLE),
    Scenario("the same, with 2,400 PutEvents per second as in us-east-2", 60, WARM_TABLE._replace(put_events=2_400)),
    Scenario("4 times the quotas", 60, times(4)),
    Scenario("20 times the quotas", 10, times(20)),
    Scenario("10 stacks, each with 4 times the quotas", 10, times(4), stacks=10),
)


def simulate(scenario: Scenario, seed: int, published: Callable[[int], None]) -> Result:
    """Simulate one stack of the scenario. `published` is called with the number of events that reach its bus."""
    rng = np.random.default_rng(seed)
    ticks = round(scenario.seconds / TICK)
    arrivals = rng.multinomial(EVENTS // scenario.stacks, np.full(ticks, 1 / ticks))
    return Simulation(scenario.quotas, memory=scenario.memory, rng=rng, published=published).run(arrivals)


def bursts(seed: int) -> Iterator[dict[str, Any]]:
    """Run every scenario, with a progress bar."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        for scenario in SCENARIOS:
            task = progress.add_task(f"{_duration(scenario.seconds)}, {scenario.name}", total=EVENTS // scenario.stacks)
            result = simulate(scenario, seed, partial(progress.advance, task))
            progress.remove_task(task)
            yield {
                "name": scenario.name,
                "burst_seconds": scenario.seconds,
                "memory": scenario.memory,
                "stacks": scenario.stacks,
                "quotas": scenario.quotas._asdict(),
                "attempts": result.sent + result.retries,
                **result._asdict(),
            }


def needs(rate: int) -> dict[str, float]:
    """Return how much of each quota `rate` deliveries per second need. The ramp is for a sudden start."""
    busy = rate * inputs.warm_seconds(MEMORY)
    return {
        "api_rate": rate,
        "concurrency": max(busy, rate / inputs.QUOTAS["requests"].value),
        "ramp": rate * inputs.start_seconds(MEMORY),
        "writes": 2 * rate,
        "table": 2 * rate,
        "put_events": rate,
        "invocations": MATCHING_RULES * rate,
        "secrets": max(1.0, busy) / 300,
    }


def secret_reads() -> list[dict[str, float]]:
    """Return what happens at Secrets Manager if all environments that Lambda can start at once do so in one second.

    Each reads AWSCURRENT. If the pending secret has signed its delivery, it then reads all three stages.
    """
    limit, started = inputs.QUOTAS["secrets"].value, inputs.QUOTAS["ramp"].value
    cases = [(stacks, calls * stacks * started) for stacks in (1, 10, 20) for calls in (1, 4)]
    return [
        {
            "stacks": stacks,
            "environments": stacks * started,
            "reads": reads,
            "refused": max(0, reads - limit),
            "seconds": max(1, reads / limit),
        }
        for stacks, reads in cases
    ]


def budget(memory: int) -> dict[str, float]:
    """Return the parts of an answer's time, in milliseconds on average."""
    seconds = {
        GATEWAY.what: GATEWAY.mean,
        "the function's own work": inputs.stretched(inputs.WARM_CPU.value, memory),
        "claim": inputs.WRITE.mean,
        "publish": inputs.PUT_EVENTS.mean,
        "record": inputs.WRITE.mean,
        "**a warm answer**": GATEWAY.mean + inputs.warm_seconds(memory),
        PLACEMENT.what: PLACEMENT.value,
        INIT_CPU.what: inputs.stretched(INIT_CPU.value, memory),
        "additional work for the first delivery": inputs.stretched(FIRST_CPU.value - inputs.WARM_CPU.value, memory),
        "three new connections": 3 * CONNECT.mean,
        "reading the signing secret": GET_SECRET.mean,
        "**a cold answer**": GATEWAY.mean + inputs.warm_seconds(memory) + inputs.start_seconds(memory),
    }
    return {what: round(second * 1000, 1) for what, second in seconds.items()}


def blocks(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables for documents."""
    return {
        "limits": _limits(found["needs"]),
        "secret_reads": _secret_reads(found["secret_reads"]),
        "budget": _budgets(found["budget"]),
        "bursts": _bursts(found["scenarios"]),
    }


def _limits(needed: Mapping[str, Mapping[str, float]]) -> str:
    rows = []
    for name in needed[str(RATES[0])]:
        quota = inputs.QUOTAS[name]
        values = [needed[str(rate)][name] for rate in RATES]
        cells = [f"**{value:,.0f}**" if value > quota.value else _small(value) for value in values]
        rows.append([f"[{quota.what}]({quota.source})", f"{quota.value:,.0f} {quota.unit}", *cells])
    return table(["quota in us-east-1", "default", *(f"{rate:,} per second" for rate in RATES)], rows)


def _secret_reads(rows: Sequence[Mapping[str, float]]) -> str:
    return table(
        [
            "stacks",
            "environments that start in a second",
            "reads",
            "refused in the first second",
            "seconds that the reads need",
        ],
        [
            [
                *(f"{row[name]:,.0f}" for name in ("stacks", "environments", "reads", "refused")),
                f"{row['seconds']:.0f}",
            ]
            for row in rows
        ],
    )


def _small(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else "< 1"


def _budgets(budgets: Mapping[str, Mapping[str, float]]) -> str:
    return table(
        ["ms on average", *(f"{int(memory):,} MB" for memory in budgets)],
        [[what, *(f"{of[what]:,.0f}" for of in budgets.values())] for what in budgets[str(MEMORY)]],
    )


def _bursts(scenarios: Sequence[Mapping[str, Any]]) -> str:
    header = (
        "a million events within",
        "quotas",
        "accepted at first attempt",
        "last on the bus after",
        "peak backlog",
        "retries",
        "API Gateway",
        "Lambda",
        "EventBridge",
        "without deduplication",
        "p50, ms",
        "p99, ms",
    )
    rows = [
        [
            _duration(run["burst_seconds"]),
            run["name"],
            f"{run['first_time'] / run['sent']:.1%}",
            _duration(run["seconds"]),
            *(f"{run[name] * run['stacks']:,}" for name in ("peak_backlog", "retries")),
            *(f"{run['refused'][by] / run['attempts']:.1%}" for by in run["refused"]),
            f"{run['without_deduplication'] / run['attempts']:.1%}",
            *(f"{run[name] * 1000:,.0f}" for name in ("p50", "p99")),
        ]
        for run in scenarios
    ]
    return table(header, rows)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def compute(seed: int) -> dict[str, Any]:
    """Return all results."""
    return {
        "command": f"python -m evidence.models.scale --seed {seed} --write",
        "seed": seed,
        "inputs": inputs.values(),
        "needs": {str(rate): needs(rate) for rate in RATES},
        "secret_reads": secret_reads(),
        "budget": {str(memory): budget(memory) for memory in (256, MEMORY, VCPU)},
        "scenarios": list(bursts(seed)),
    }


def main() -> None:
    parser = argparse.ArgumentParser("python -m evidence.models.scale", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="seed of the simulation (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="replace the results")
    options = parser.parse_args()
    try:
        found = compute(options.seed)
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    print("\n".join(blocks(found).values()))
    if options.write:
        results.write("scale", found)


if __name__ == "__main__":
    main()
