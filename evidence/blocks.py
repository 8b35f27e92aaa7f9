"""Write the generated blocks of all documents from evidence/results/, or check them.

A generated block is the text between `<!-- evidence NAME -->` and `<!-- end -->`. You can move a block, and write
anything around it. Without evidence/, the blocks remain as plain text.
"""

import argparse
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from evidence import results
from evidence.attacks import tables as attacks
from evidence.benchmarks import tables as performance
from evidence.chaos import tables as chaos
from evidence.models import cost, scale
from evidence.models.alarms import tables as alarms
from tests.support.paths import ROOT

DOCUMENTS = ("README.md", "docs/guide/*.md", "evidence/*.md", "evidence/reports/*.md")
_BLOCK = re.compile(r"(<!-- evidence (\w+\.\w+) -->).*?(<!-- end -->)", re.DOTALL)


def blocks() -> dict[str, str]:
    """Return the text of each block, by name: the results' name, a dot, and the block's own name."""
    sources = {
        "alarms": alarms.blocks,
        "attacks": attacks.costly_deliveries,
        "chaos": chaos.blocks,
        "cost": cost.blocks,
        "differential": attacks.differential,
        "fuzz": attacks.fuzz,
        "performance": performance.blocks,
        "scale": scale.blocks,
        "timing": attacks.timing,
    }
    return {
        f"{name}.{block}": text
        for name, source in sources.items()
        for block, text in source(results.read(name)).items()
    }


def fill(text: str, blocks: Mapping[str, str]) -> str:
    """Return a document with current blocks. Raises KeyError for a block that does not exist."""

    def filled(match: re.Match[str]) -> str:
        block = blocks[match[2]]
        # A table starts on its own line. A figure stays within its sentence.
        return f"{match[1]}\n{block}{match[3]}" if block.endswith("\n") else f"{match[1]}{block}{match[3]}"

    return _BLOCK.sub(filled, text)


def stale(*, write: bool) -> list[Path]:
    """Return the documents that have old blocks. With `write`, update them too."""
    current, found = blocks(), []
    for path in sorted(path for pattern in DOCUMENTS for path in ROOT.glob(pattern)):
        text = path.read_text()
        try:
            new = fill(text, current)
        except KeyError as error:
            sys.exit(f"{path.relative_to(ROOT)}: there is no block {error}. There are: {', '.join(current)}")
        if new != text:
            found.append(path)
            if write:
                path.write_text(new)
    return found


def main() -> None:
    parser = argparse.ArgumentParser("python -m evidence.blocks", description=__doc__)
    parser.add_argument("--check", action="store_true", help="change nothing, and exit with 1 if a block is old")
    check = parser.parse_args().check
    names = ", ".join(str(path.relative_to(ROOT)) for path in stale(write=not check))
    if names and not check:
        print(f"Updated {names}")
    elif names:
        sys.exit(f"Blocks that differ from evidence/results: {names}. Run python -m evidence.blocks")


if __name__ == "__main__":
    main()
