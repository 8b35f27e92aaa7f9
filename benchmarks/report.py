"""Results as files, and as tables in the documents about them."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]


def results(name: str) -> Path:
    return ROOT / "benchmarks/results" / f"{name}.json"


def document(name: str) -> Path:
    return ROOT / "docs" / f"{name}.md"


def publish(name: str, found: Mapping[str, Any], tables: Sequence[str]) -> None:
    """Write the results down, and show their tables, here and in the document in place of the former ones."""
    results(name).write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    text = document(name).read_text()
    for table in tables:
        text = replaced(text, table)
    document(name).write_text(text)
    console = Console(soft_wrap=True)
    console.print("\n".join(tables), markup=False, highlight=False)
    console.print(f"Written to {results(name).relative_to(ROOT)} and {document(name).relative_to(ROOT)}")


def replaced(text: str, table: str) -> str:
    """The document with the table in place of the one that has its header."""
    header, _, _ = table.partition("\n")
    text, found = re.subn(rf"{re.escape(header)}\n(?:\|.*\n)*", lambda _: table, text)
    if found != 1:
        raise ValueError(f"the document has {found} tables that begin like this, instead of one: {header}")
    return text


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
