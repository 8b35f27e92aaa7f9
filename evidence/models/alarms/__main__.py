"""Simulate the template's alarms in every way to lose events and in healthy months.

The exit status is 1 if an alarm is missing or false.
"""

import argparse
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.progress import track

from evidence import results
from evidence.models.alarms.declared import declared
from evidence.models.alarms.readings import LIMITS, READINGS, Reading
from evidence.models.alarms.scenarios import SCENARIOS, Scenario, run, run_month
from evidence.models.alarms.tables import blocks
from evidence.models.alarms.traffic import BETWEEN, TRAFFIC, Traffic

STANDARD = Reading("as in the other tables")
ALL_TRAFFIC = sorted((*TRAFFIC, *BETWEEN), key=lambda traffic: traffic.rate or np.inf)


class Size(NamedTuple):
    """How often each scenario, and each healthy month, is run at each rate."""

    runs: int
    months: int


def generator(*seed: object) -> np.random.Generator:
    """Return random numbers that depend on the text of the seed."""
    return np.random.default_rng(list(" ".join(map(str, seed)).encode()))


def scenario_cell(scenario: Scenario, traffic: Traffic, reading: Reading, runs: int, seed: int) -> dict[str, Any]:
    """Return the alarms of a scenario, the most frequent first, and their times in minutes."""
    alarms = declared(quiet_hours=traffic.quiet_hours if scenario.silent else 0)
    seeds = (generator(seed, scenario.name, traffic.name, number) for number in range(runs))
    found = [run(scenario, traffic, alarms, rng, reading) for rng in seeds]
    minutes = [one.minutes for one in found if one.alarm]
    return {
        "alarms": [name for name, _ in Counter(one.alarm for one in found if one.alarm).most_common()],
        "median": statistics.median_high(minutes) if minutes else None,
        "worst": max(minutes, default=None),
        "missed": runs - len(minutes),
        "rolled_back": sum(one.rolled_back for one in found) / runs,
    }


def healthy_cell(traffic: Traffic, reading: Reading, months: int, seed: int) -> dict[str, Any]:
    alarms = declared(quiet_hours=traffic.quiet_hours if traffic.quiet_hours_suffice else 0)
    seeds = (generator(seed, "healthy", traffic.name, number) for number in range(months))
    found = [run_month(traffic, alarms, rng, reading) for rng in seeds]
    return {
        "months": months,
        "false_alarms": Counter(name for month in found for name in month.false_alarms),
        "stopped_deployments": statistics.mean(month.stopped_deployments for month in found),
    }


def examine(reading: Reading, size: Size, seed: int) -> dict[str, Any]:
    """Return the results of every scenario and of healthy months, by rate."""
    return {
        "scenarios": {
            scenario.name: {of.name: scenario_cell(scenario, of, reading, size.runs, seed) for of in TRAFFIC}
            for scenario in progress(SCENARIOS, f"Scenarios, {reading.name}")
        },
        "healthy": {
            of.name: healthy_cell(of, reading, size.months, seed)
            for of in progress(ALL_TRAFFIC, f"Healthy months, {reading.name}")
        },
    }


def total(reading: Reading, size: Size, seed: int) -> dict[str, Any]:
    """Return the sums of all scenarios and of all healthy months."""
    found = examine(reading, size, seed)
    cells = [cell for of in found["scenarios"].values() for cell in of.values()]
    urgent = [cell for of in SCENARIOS if of.urgent for cell in found["scenarios"][of.name].values()]
    return {
        "runs": size.runs * len(cells),
        "missed": sum(cell["missed"] for cell in cells),
        "slowest": max(cell["worst"] for cell in urgent if cell["alarms"]),
        "months": size.months * len(found["healthy"]),
        "false_alarms": sum((cell["false_alarms"] for cell in found["healthy"].values()), Counter()),
    }


def faults(found: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each missing and each false alarm."""
    standard = found["standard"]
    cells = {f"{name}, {rate}": cell for name, of in standard["scenarios"].items() for rate, cell in of.items()}
    return [
        f"{name}: {of.get('missed', 0)} runs without an alarm, false alarms: {of.get('false_alarms', 'none')}"
        for name, of in (cells | standard["healthy"] | found["readings"]).items()
        if of.get("missed") or of.get("false_alarms")
    ]


def progress[T](items: Sequence[T], what: str) -> Iterable[T]:
    return track(items, what, console=Console(stderr=True), transient=True)


def main() -> None:
    parser = argparse.ArgumentParser("python -m evidence.models.alarms", description=__doc__)
    parser.add_argument("--full", action="store_true", help="more runs, and all readings: 10 minutes instead of 15 s")
    parser.add_argument("--seed", type=int, default=1, help="seed of the random numbers (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="replace the results; needs --full")
    options = parser.parse_args()
    if options.write and not options.full:
        parser.error("The report needs more runs: add --full")
    full, seed = options.full, options.seed
    each = Size(runs=3, months=2)
    try:
        found = {
            "command": f"python -m evidence.models.alarms --full --seed {seed} --write",
            "alarms": {name: asdict(alarm) for name, alarm in declared(quiet_hours=1).alarms.items()},
            "standard": examine(STANDARD, Size(runs=50, months=20) if full else Size(runs=2, months=1), seed),
            "readings": {reading.name: total(reading, each, seed) for reading in READINGS if full},
            "limits": {reading.name: total(reading, each, seed) for reading in LIMITS if full},
        }
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    print("\n".join(blocks(found).values()))
    if options.write:
        results.write("alarms", results.rounded(found))
    sys.exit("\n".join(faults(found)) or None)


if __name__ == "__main__":
    main()
