"""Links in the documentation resolve, and the make targets that it names exist."""

import re
from pathlib import Path
from typing import Final

from tests.support.paths import ROOT

DOCUMENTS: Final = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "cli/*.md", "examples/*/README.md", ".github/**/*.md")
    for path in ROOT.glob(pattern)
)
FENCED: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE: Final = re.compile(r"`[^`\n]+`")
LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
HEADING: Final = re.compile(r"^#+ +(.+)$", re.MULTILINE)
TARGET: Final = re.compile(r"^([a-z0-9-]+):(?!=)", re.MULTILINE)
NAMED_TARGET: Final = re.compile(r"(?<![\w/.-])make ([a-z][a-zA-Z0-9-]*)")

ROOMS: Final = ("cli", "examples", "evidence")
"""Folders that an adopter can delete."""


def test_links_resolve() -> None:
    broken = {
        f"{document.relative_to(ROOT)}: {link}"
        for document in DOCUMENTS
        for link in relative_links(document)
        if not resolves(document, link)
    }
    assert not broken, "\n".join(sorted(broken))


def test_make_targets_exist() -> None:
    makefiles = "".join(path.read_text() for path in [ROOT / "Makefile", *ROOT.glob("*/Makefile")])
    known = set(TARGET.findall(makefiles))
    unknown = {
        f"{document.relative_to(ROOT)}: make {name}"
        for document in DOCUMENTS
        for name in named_targets(document)
        if name not in known and not name.startswith("deploy-")
    }
    assert not unknown or not all((ROOT / room).exists() for room in ROOMS), "\n".join(sorted(unknown))


def named_targets(document: Path) -> set[str]:
    text = document.read_text()
    return set(NAMED_TARGET.findall("\n".join([*FENCED.findall(text), *CODE.findall(FENCED.sub("", text))])))


def relative_links(document: Path) -> list[str]:
    prose = CODE.sub("", FENCED.sub("", document.read_text()))
    return [link for link in LINK.findall(prose) if not re.match(r"[a-z]+:", link)]


def target(document: Path, link: str) -> Path:
    path = link.partition("#")[0]
    return (document.parent / path).resolve() if path else document


def resolves(document: Path, link: str) -> bool:
    path, anchor = target(document, link), link.partition("#")[2]
    if not path.exists():
        room = path.relative_to(ROOT).parts[0]
        return room in ROOMS and not (ROOT / room).exists()
    return not anchor or anchor in map(to_anchor, HEADING.findall(FENCED.sub("", path.read_text())))


def to_anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
