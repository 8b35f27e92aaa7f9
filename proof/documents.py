"""Results as files, and as tables in the documents about them."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def write(results: Path, document: Path, found: Mapping[str, Any], tables: Iterable[str]) -> None:
    """Write the results down, and their tables in the document in place of the former ones."""
    results.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    text = document.read_text()
    for table in tables:
        text = replaced(text, table)
    document.write_text(text)


def replaced(text: str, table: str) -> str:
    """The document with the table in place of the one that has its header."""
    header, _, _ = table.partition("\n")
    text, found = re.subn(rf"{re.escape(header)}\n(?:\|.*\n)*", lambda _: table, text)
    if found != 1:
        raise ValueError(f"the document has {found} tables that begin like this, instead of one: {header}")
    return text


def markdown(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(map(cell, line))} |\n" for line in lines)


def cell(value: object) -> str:
    """The text of a value: thousands are separated."""
    return f"{value:,}" if isinstance(value, int) else str(value)
