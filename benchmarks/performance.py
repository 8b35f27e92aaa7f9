"""docs/performance.md: the run's figures as tables."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.targets import Quartiles
from proof.documents import markdown

type Figures = Mapping[str, Any]


def tables(figures: Figures) -> Iterator[str]:
    """All of the document's, as Markdown."""
    yield targets(figures)
    yield cold(figures)
    yield phases(figures)
    yield warm(figures)
    yield after_pauses(figures)
    yield processes(figures)
    yield markdown(["what stands in for AWS", "calls a second"], [["alone", f"{figures['calls_per_second']:.0f}"]])
    yield footprint(figures)
    yield growth(figures)
    if figures["instructions"]:
        yield instructions(figures)


def targets(figures: Figures) -> str:
    rows = []
    for target in figures["targets"]:
        ratio = Quartiles(**target["ratio"])
        met = "yes" if ratio.median <= target["at_most"] else "no"
        rows.append([target["what"], f"{target['at_most']:.2f}", ratio.text(".3f"), met])
    return markdown(["ratio", "target, at most", "measured", "met"], rows)


def cold(figures: Figures) -> str:
    rows = [
        [
            name,
            *(Quartiles(**of[field]).text(".0f") for field in ("init", "cpu", "wall")),
            Quartiles(**of["ratio"]).text(".2f"),
        ]
        for name, of in figures["cold"].items()
    ]
    header = ["init, CPU ms", "to the first 200, CPU ms", "wall ms", "CPU, ours by `make build` / this"]
    return markdown(["cold start", *header], rows)


def phases(figures: Figures) -> str:
    names = list(next(iter(figures["phases_ms"].values())))
    rows = [
        [name, *(f"{of[phase]:.0f}" for phase in names), f"{first_delivery(figures, name):.0f}"]
        for name, of in figures["phases_ms"].items()
    ]
    return markdown(["`make build`, CPU ms", *names, "first delivery"], rows)


def warm(figures: Figures) -> str:
    rows = [
        [
            name,
            *(f"{of[kind]['cpu_us'][p]:.0f}" for kind in of for p in ("p50", "p99")),
            f"{of['accepted']['wall_us']['p50']:.0f}",
            f"{of['accepted']['wall_us']['p99']:.0f}",
            f"{of['accepted']['calls']:.1f}",
        ]
        for name, of in figures["warm"].items()
    ]
    kinds = next(iter(figures["warm"].values()))
    header = [f"{kind}, {p}" for kind in kinds for p in ("p50", "p99")]
    return markdown(["CPU µs", *header, "accepted, wall µs, p50", "p99", "calls"], rows)


def after_pauses(figures: Figures) -> str:
    rows = [
        [
            name,
            *(f"{of[clock][p] / 1e3:.1f}" for clock in ("cpu_us", "wall_us") for p in ("p50", "p99")),
            Quartiles(**of["ratio"]).text(".2f"),
        ]
        for name, of in figures["after_pauses"].items()
    ]
    return markdown(["after a pause", "CPU ms, p50", "p99", "wall ms, p50", "p99", "CPU, ours / this"], rows)


def processes(figures: Figures) -> str:
    rows = [
        [
            name,
            count,
            f"{of['per_second']:.0f}",
            *(f"{of[clock][p]:.0f}" for clock in ("cpu_us", "wall_us") for p in ("p50", "p99")),
        ]
        for name, counts in figures["processes"].items()
        for count, of in counts.items()
    ]
    return markdown(["", "processes", "deliveries a second", "CPU µs, p50", "p99", "wall µs, p50", "p99"], rows)


def footprint(figures: Figures) -> str:
    memory = figures["memory_mb"]
    rows = [
        [name, f"{size['unpacked']:.1f}", f"{size['zipped']:.1f}", _memory(memory, name)]
        for name, size in figures["size_mb"].items()
    ]
    return markdown(["artefact", "unpacked, MB", "zipped, MB", "peak memory, MB"], rows)


def growth(figures: Figures) -> str:
    rows = [
        [what, ", ".join(f"{int(size):,}: {us:.0f}" for size, us in of["points"].items()), f"{of['slope']:.2g}"]
        for what, of in figures["growth_us"].items()
    ]
    return markdown(["what grows", "CPU µs of an accepted delivery", "µs for one more"], rows)


def instructions(figures: Figures) -> str:
    ours = figures["instructions"]["ours, accepted"]
    rows = [[name, f"{count / 1e6:.2f}", f"{ours / count:.2f}"] for name, count in figures["instructions"].items()]
    return markdown(["a delivery", "instructions, millions", "ours, accepted, in relation"], rows)


def first_delivery(figures: Figures, name: str) -> float:
    """What a first delivery takes after init, in CPU milliseconds."""
    of = figures["cold"][f"{name}, make build"]
    spent: float = of["cpu"]["median"] - of["init"]["median"]
    return spent


def _memory(memory: Mapping[str, float], artefact: str) -> str:
    # Measured by `make build` alone: what lies in a folder unread takes no memory.
    name, _, form = artefact.partition(", ")
    peak = memory.get(name, memory.get(f"{name}, no table"))
    return f"{peak:.1f}" if form == "make build" and peak else ""
