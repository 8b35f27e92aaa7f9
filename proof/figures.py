"""What runs have measured: a file for each in proof/results/, and its table in docs/attacks.md."""

import json
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs/attacks.md"
RESULTS = ROOT / "proof/results"

type Figures = Mapping[str, Any]


def read(name: str) -> Figures:
    figures: Figures = json.loads((RESULTS / f"{name}.json").read_text())
    return figures


def write(name: str, module: str, packages: Iterable[str], figures: Figures) -> None:
    """Keep the figures, with what it takes to measure them again, and bring the document up to date."""
    made_by = {
        "command": " ".join(["python", "-m", module, *sys.argv[1:]]),
        "versions": {"python": platform.python_version()} | {package: version(package) for package in packages},
    }
    (RESULTS / f"{name}.json").write_text(json.dumps(made_by | dict(figures), indent=2) + "\n")
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(), name))


def with_table(document: str, name: str) -> str:
    """The document with the table of one run as its file says it."""
    start, end = f"<!-- {name}.json -->\n", f"<!-- /{name}.json -->"
    table = "\n".join(TABLES[name](read(name)))
    replaced, count = re.subn(f"{start}.*?{end}", lambda _: f"{start}{table}\n{end}", document, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{DOCUMENT} has no place for {name}.json: put {start.strip()} and {end} there")
    return replaced


def _row(*cells: object) -> str:
    return f"| {' | '.join(f'{cell:,}' if isinstance(cell, int) else str(cell) for cell in cells)} |"


def _fuzz(figures: Figures) -> Iterable[str]:
    yield _row("target", "executions", "a second", "findings")
    yield _row("---", "--:", "--:", "--:")
    for name, target in figures["targets"].items():
        yield _row(f"`{name}`", target["executions"], target["per_second"], target["findings"])


def _differential(figures: Figures) -> Iterable[str]:
    yield _row("of the deliveries", figures["deliveries"])
    yield _row("---", "--:")
    yield _row("different from each other", figures["different"])
    for name, count in figures["seen"].items():
        yield _row(name, count)
    yield _row("by us alone, for a reason without a name", figures["unnamed"])


def _attacks(figures: Figures) -> Iterable[str]:
    yield _row("delivery", "status", "s", "MB")
    yield _row("---", "--:", "--:", "--:")
    for name, cost in figures["attacks"].items():
        yield _row(name, cost["status"], cost["answered_after"], round(cost["megabytes"]))
    flood = figures["flood"]
    yield ""
    yield f"{flood['forgeries']:,} forgeries in {flood['minutes']} minutes made these calls to AWS, and no other:"
    yield from (f"{count} {operation}." for operation, count in flood["calls"].items())


def _timing(figures: Figures) -> Iterable[str]:
    yield _row("first wrong character", "difference, ns", "t")
    yield _row("---", "--:", "--:")
    for place, difference in figures["verify"].items():
        yield _row(f"{int(place) + 1} of 43", difference["nanoseconds"], difference["t"])
    control = figures["control"]
    yield _row("1 of 43, by a comparison that stops there", control["nanoseconds"], control["t"])


TABLES: Mapping[str, Callable[[Figures], Iterable[str]]] = {
    "attacks": _attacks,
    "differential": _differential,
    "fuzz": _fuzz,
    "timing": _timing,
}
