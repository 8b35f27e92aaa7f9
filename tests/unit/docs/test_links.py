"""Links in the documentation resolve, and the make targets that it names exist."""

import re
from pathlib import Path
from typing import Final

import pytest

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

by_name = pytest.mark.parametrize("document", DOCUMENTS, ids=[path.relative_to(ROOT).as_posix() for path in DOCUMENTS])


@by_name
def test_links_resolve(document: Path) -> None:
    assert [link for link in relative_links(document) if not resolves(document, link)] == []


@by_name
def test_make_targets_exist(document: Path) -> None:
    text = document.read_text()
    code = "\n".join([*FENCED.findall(text), *CODE.findall(FENCED.sub("", text))])
    makefiles = "".join(path.read_text() for path in [ROOT / "Makefile", *ROOT.glob("*/Makefile")])

    named = {name for name in NAMED_TARGET.findall(code) if not name.startswith("deploy-")}
    unknown = named - set(TARGET.findall(makefiles))
    assert not unknown or not all((ROOT / room).exists() for room in ROOMS)


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [
        ("Raise the limits", "raise-the-limits"),
        (
            "EventBridge's classic bus, not yet the Custom Event Bus",
            "eventbridges-classic-bus-not-yet-the-custom-event-bus",
        ),
        ("Why not `client.webhooks.unwrap()`?", "why-not-clientwebhooksunwrap"),
        ("sam local", "sam-local"),
    ],
)
def test_anchor_is_as_github_makes_it(heading: str, anchor: str) -> None:
    assert to_anchor(heading) == anchor


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
