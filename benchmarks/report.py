"""Where the benchmarks' results and documents are, and how they get there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from proof import ROOT, documents


def results(name: str) -> Path:
    return ROOT / "benchmarks/results" / f"{name}.json"


def document(name: str) -> Path:
    return ROOT / "docs" / f"{name}.md"


def publish(name: str, found: Mapping[str, Any], tables: Sequence[str]) -> None:
    """Write the results down, and show their tables, here and in the document in place of the former ones."""
    documents.write(results(name), document(name), found, tables)
    show(
        *tables,
        f"Written to {results(name).relative_to(ROOT)} and {document(name).relative_to(ROOT)}",
    )


def show(*texts: str) -> None:
    Console(soft_wrap=True).print("\n".join(texts), markup=False, highlight=False)
