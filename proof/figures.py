"""What runs have measured: a file for each in proof/results/, and its tables in docs/attacks.md."""

import json
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from typing import Any

from proof import ROOT, documents
from proof.documents import markdown

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
    documents.write(RESULTS / f"{name}.json", DOCUMENT, made_by | dict(figures), TABLES[name](figures))


def _fuzz(figures: Figures) -> Iterator[str]:
    yield markdown(
        ["target", "executions", "a second", "findings"],
        [
            [f"`{name}`", target["executions"], target["per_second"], target["findings"]]
            for name, target in figures["targets"].items()
        ],
    )


def _differential(figures: Figures) -> Iterator[str]:
    yield markdown(
        ["deliveries to three libraries", "number"],
        [
            ["drawn", figures["deliveries"]],
            ["different from each other", figures["different"]],
            *figures["seen"].items(),
            ["by us alone, for a reason without a name", figures["unnamed"]],
        ],
    )


def _attacks(figures: Figures) -> Iterator[str]:
    yield markdown(
        ["delivery", "status", "s", "MB"],
        [
            [name, cost["status"], cost["answered_after"], round(cost["megabytes"])]
            for name, cost in figures["attacks"].items()
        ],
    )
    flood = figures["flood"]
    yield markdown(
        ["a flood", "number"],
        [
            ["forgeries", flood["forgeries"]],
            ["minutes", flood["minutes"]],
            *([f"calls to AWS: {operation}", count] for operation, count in flood["calls"].items()),
        ],
    )


def _timing(figures: Figures) -> Iterator[str]:
    control = figures["control"]
    yield markdown(
        ["first wrong character", "difference, ns", "t"],
        [
            *(
                [f"{int(place) + 1} of 43", difference["nanoseconds"], difference["t"]]
                for place, difference in figures["verify"].items()
            ),
            ["1 of 43, by a comparison that stops there", control["nanoseconds"], control["t"]],
        ],
    )


TABLES: Mapping[str, Callable[[Figures], Iterator[str]]] = {
    "attacks": _attacks,
    "differential": _differential,
    "fuzz": _fuzz,
    "timing": _timing,
}
