"""The results of `make bench`, as tables for evidence/reports/performance.md."""

from collections.abc import Mapping
from typing import Any

from evidence.benchmarks.targets import Quartiles
from evidence.markdown import table

type Results = Mapping[str, Any]


def blocks(found: Results) -> dict[str, str]:
    """Return all tables."""
    calls = [["alone", f"{found['calls_per_second']:.0f}"]]
    tables = {
        "targets": targets(found),
        "cold": _cold(found),
        "phases": _phases(found),
        "warm": _warm(found),
        "after_pauses": _after_pauses(found),
        "processes": _processes(found),
        "aws": table(["the testbed's AWS", "calls per second"], calls),
        "footprint": _footprint(found),
        "growth": _growth(found),
    }
    return tables | ({"instructions": _instructions(found)} if found["instructions"] else {})


def targets(found: Results) -> str:
    """Return the table of the targets, which is all that a quick run has."""
    rows = []
    for target in found["targets"]:
        ratio = Quartiles(**target["ratio"])
        if (at_most := target["at_most"]) is None:
            rows.append([target["what"], "none", ratio.text(".3f"), ""])
        else:
            met = "yes" if ratio.median <= at_most else "no"
            rows.append([target["what"], f"{at_most:.2f}", ratio.text(".3f"), met])
    return table(["ratio", "target, at most", "measured", "met"], rows)


def _cold(found: Results) -> str:
    rows = [
        [
            name,
            *(Quartiles(**of[field]).text(".0f") for field in ("init", "cpu", "wall")),
            Quartiles(**of["ratio"]).text(".2f"),
        ]
        for name, of in found["cold"].items()
    ]
    header = ["init, CPU ms", "to the first 200, CPU ms", "real time, ms", "CPU, ours with `make build` / this"]
    return table(["cold start", *header], rows)


def _phases(found: Results) -> str:
    names = list(next(iter(found["phases_ms"].values())))
    rows = [
        [name, *(f"{of[phase]:.0f}" for phase in names), f"{first_delivery(found, name):.0f}"]
        for name, of in found["phases_ms"].items()
    ]
    return table(["CPU ms, with `make build`", *names, "first delivery"], rows)


def _warm(found: Results) -> str:
    rows = [
        [
            name,
            *(f"{of[kind]['cpu_us'][p]:.0f}" for kind in of for p in ("p50", "p99")),
            f"{of['accepted']['wall_us']['p50']:.0f}",
            f"{of['accepted']['wall_us']['p99']:.0f}",
            f"{of['accepted']['calls']:.1f}",
        ]
        for name, of in found["warm"].items()
    ]
    kinds = next(iter(found["warm"].values()))
    header = [f"{kind}, {p}" for kind in kinds for p in ("p50", "p99")]
    return table(["CPU µs", *header, "accepted, real time, p50", "p99", "calls"], rows)


def _after_pauses(found: Results) -> str:
    rows = [
        [
            name,
            *(f"{of[clock][p] / 1e3:.1f}" for clock in ("cpu_us", "wall_us") for p in ("p50", "p99")),
            Quartiles(**of["ratio"]).text(".2f"),
        ]
        for name, of in found["after_pauses"].items()
    ]
    return table(["after a pause", "CPU ms, p50", "p99", "real time, ms, p50", "p99", "CPU, ours / this"], rows)


def _processes(found: Results) -> str:
    rows = [
        [
            name,
            count,
            f"{of['per_second']:.0f}",
            *(f"{of[clock][p]:.0f}" for clock in ("cpu_us", "wall_us") for p in ("p50", "p99")),
        ]
        for name, counts in found["processes"].items()
        for count, of in counts.items()
    ]
    return table(["", "processes", "deliveries per second", "CPU µs, p50", "p99", "real time, µs, p50", "p99"], rows)


def _footprint(found: Results) -> str:
    memory = found["memory_mb"]
    rows = [
        [name, f"{size['unpacked']:.1f}", f"{size['zipped']:.1f}", _memory(memory, name)]
        for name, size in found["size_mb"].items()
    ]
    return table(["artifact", "unpacked, MB", "zipped, MB", "peak memory, MB"], rows)


def _growth(found: Results) -> str:
    rows = [
        [what, ", ".join(f"{int(size):,}: {us:.0f}" for size, us in of["points"].items()), f"{of['slope']:.2g}"]
        for what, of in found["growth_us"].items()
    ]
    return table(["what grows", "CPU µs of an accepted delivery", "µs for one more"], rows)


def _instructions(found: Results) -> str:
    ours = found["instructions"]["ours, accepted"]
    rows = [[name, f"{count / 1e6:.2f}", f"{ours / count:.2f}"] for name, count in found["instructions"].items()]
    return table(["delivery", "instructions, millions", "ours, accepted / this"], rows)


def first_delivery(found: Results, name: str) -> float:
    """Return the CPU time of the first delivery after initialization, in milliseconds."""
    of = found["cold"][f"{name}, make build"]
    spent: float = of["cpu"]["median"] - of["init"]["median"]
    return spent


def _memory(memory: Mapping[str, float], artifact: str) -> str:
    # Measured with `make build` only: a file that is not read uses no memory.
    name, _, form = artifact.partition(", ")
    peak = memory.get(name, memory.get(f"{name}, no table"))
    return f"{peak:.1f}" if form == "make build" and peak else ""
