"""What a deployment holds: the quotas beside what a rate of deliveries takes of them, and bursts of a million events.

`.venv/bin/python -m benchmarks.scale`. Writes benchmarks/results/scale.json, whose tables are in docs/scale.md.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import inputs, report
from benchmarks.inputs import (
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
from benchmarks.simulation import TICK, Quotas, Result, Simulation
from proof.documents import markdown

EVENTS = 1_000_000
RATES = (10, 1_000, 100_000)
MATCHING_RULES = 2  # the template's own, for the arrival log, and one of a subscriber

DEPLOYED = Quotas(
    api_rate=PARAMETERS["ThrottlingRate"]["Default"],
    api_burst=PARAMETERS["ThrottlingBurst"]["Default"],
    concurrency=int(inputs.QUOTAS["concurrency"].value),
    writes=inputs.QUOTAS["writes"].value,
    put_events=inputs.QUOTAS["put_events"].value,
)
OPENED = DEPLOYED._replace(
    api_rate=PARAMETERS["ThrottlingRate"]["MaxValue"], api_burst=PARAMETERS["ThrottlingBurst"]["MaxValue"]
)
WARM_TABLE = OPENED._replace(writes=inputs.QUOTAS["table"].value)


def times(factor: int) -> Quotas:
    """All quotas raised so much, the template's throttling with them, and the table warmed up."""
    return Quotas(
        api_rate=factor * OPENED.api_rate,
        api_burst=factor * OPENED.api_burst,
        concurrency=factor * OPENED.concurrency,
        writes=factor * inputs.QUOTAS["table"].value,
        put_events=factor * OPENED.put_events,
    )


class Scenario(NamedTuple):
    """A burst, spread evenly over `seconds` and over `stacks`, each with quotas of its own."""

    name: str
    seconds: int
    quotas: Quotas
    memory: int = MEMORY
    stacks: int = 1


SCENARIOS = (
    Scenario("as deployed", 3_600, DEPLOYED),
    Scenario("as deployed", 600, DEPLOYED),
    Scenario("throttling at its maximum", 600, OPENED),
    Scenario(f"the same, {VCPU:,} MB", 600, OPENED, memory=VCPU),
    Scenario("throttling at its maximum", 60, OPENED),
    Scenario("the same, the table warmed up", 60, WARM_TABLE),
    Scenario("the same, PutEvents 2,400 a second as in us-east-2", 60, WARM_TABLE._replace(put_events=2_400)),
    Scenario("four times the quotas", 60, times(4)),
    Scenario("twenty times the quotas", 10, times(20)),
    Scenario("ten stacks, each with four times the quotas", 10, times(4), stacks=10),
)


def simulate(scenario: Scenario, seed: int, published: Callable[[int], None]) -> Result:
    """Run one of the scenario's stacks; `published` is called with the numbers that come onto its bus."""
    rng = np.random.default_rng(seed)
    ticks = round(scenario.seconds / TICK)
    arrivals = rng.multinomial(EVENTS // scenario.stacks, np.full(ticks, 1 / ticks))
    return Simulation(scenario.quotas, memory=scenario.memory, rng=rng, published=published).run(arrivals)


def bursts(seed: int) -> Iterator[dict[str, Any]]:
    """Run every scenario, with a progress display."""
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
                "attempts": result.sent + result.redeliveries,
                **result._asdict(),
            }


def needs(rate: int) -> dict[str, float]:
    """What `rate` deliveries a second take of each quota; of the ramp, when they begin all at once."""
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


def budget(memory: int) -> dict[str, float]:
    """Where an answer's time goes, in milliseconds on average."""
    seconds = {
        GATEWAY.what: GATEWAY.mean,
        "the function's own work": inputs.stretched(inputs.WARM_CPU.value, memory),
        "claim": inputs.WRITE.mean,
        "publish": inputs.PUT_EVENTS.mean,
        "record": inputs.WRITE.mean,
        "**a warm answer**": GATEWAY.mean + inputs.warm_seconds(memory),
        PLACEMENT.what: PLACEMENT.value,
        INIT_CPU.what: inputs.stretched(INIT_CPU.value, memory),
        "more work at the first delivery": inputs.stretched(FIRST_CPU.value - inputs.WARM_CPU.value, memory),
        "three new connections": 3 * CONNECT.mean,
        "reading the signing secret": GET_SECRET.mean,
        "**a cold answer**": GATEWAY.mean + inputs.warm_seconds(memory) + inputs.start_seconds(memory),
    }
    return {what: round(second * 1000, 1) for what, second in seconds.items()}


def tables(results: Mapping[str, Any]) -> list[str]:
    """The results as docs/scale.md has them."""
    return [_limits(results["needs"]), _budgets(results["budget"]), _bursts(results["scenarios"])]


def _limits(needed: Mapping[str, Mapping[str, float]]) -> str:
    rows = []
    for name in needed[str(RATES[0])]:
        quota = inputs.QUOTAS[name]
        values = [needed[str(rate)][name] for rate in RATES]
        cells = [f"**{value:,.0f}**" if value > quota.value else _small(value) for value in values]
        rows.append([f"[{quota.what}]({quota.source})", f"{quota.value:,.0f} {quota.unit}", *cells])
    return markdown(["quota, in us-east-1", "default", *(f"at {rate:,} a second" for rate in RATES)], rows)


def _small(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else "< 1"


def _budgets(budgets: Mapping[str, Mapping[str, float]]) -> str:
    return markdown(
        ["ms, on average", *(f"at {int(memory):,} MB" for memory in budgets)],
        [[what, *(f"{of[what]:,.0f}" for of in budgets.values())] for what in budgets[str(MEMORY)]],
    )


def _bursts(scenarios: Sequence[Mapping[str, Any]]) -> str:
    header = (
        "a million events in",
        "quotas",
        "at the first attempt",
        "all on the bus after",
        "peak backlog",
        "redeliveries",
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
            *(f"{run[name] * run['stacks']:,}" for name in ("peak_backlog", "redeliveries")),
            *(f"{run['refused'][by] / run['attempts']:.1%}" for by in run["refused"]),
            f"{run['without_deduplication'] / run['attempts']:.1%}",
            *(f"{run[name] * 1000:,.0f}" for name in ("p50", "p99")),
        ]
        for run in scenarios
    ]
    return markdown(header, rows)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def results(seed: int) -> dict[str, Any]:
    return {
        "command": f"python -m benchmarks.scale --seed {seed}",
        "seed": seed,
        "inputs": inputs.described(),
        "needs": {str(rate): needs(rate) for rate in RATES},
        "budget": {str(memory): budget(memory) for memory in (256, MEMORY, VCPU)},
        "scenarios": list(bursts(seed)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers; the documented run has 1")
    try:
        found = results(parser.parse_args().seed)
    except KeyboardInterrupt:
        sys.exit("Stopped: nothing was written")
    report.publish("scale", found, tables(found))


if __name__ == "__main__":
    main()
