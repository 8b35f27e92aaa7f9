"""The subscriber's requirements: complete, and the versions that the receiver is tested with."""

import re
from importlib.metadata import requires
from pathlib import Path
from typing import Final

from tests.support.paths import ROOT

FUNCTIONS: Final = ROOT / "examples/subscriber/functions"


def pinned(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", path.read_text(), re.MULTILINE))


def test_shared_packages_have_receivers_versions() -> None:
    receiver, subscriber = pinned(ROOT / "src/requirements.txt"), pinned(FUNCTIONS / "requirements.txt")

    assert subscriber == {name: receiver.get(name, version) for name, version in subscriber.items()}


def test_every_direct_dependency_is_pinned() -> None:
    direct = re.findall(r"^[\w-]+$", (FUNCTIONS / "requirements.in").read_text(), re.MULTILINE)

    assert direct
    assert set(direct) <= pinned(FUNCTIONS / "requirements.txt").keys()


def test_every_transitive_dependency_is_pinned() -> None:
    names = pinned(FUNCTIONS / "requirements.txt").keys()
    needed = {
        re.split(r"[^\w.-]", requirement, maxsplit=1)[0].lower().replace("_", "-")
        for name in names
        for requirement in requires(name) or []
        if "extra ==" not in requirement and "python_version <" not in requirement
    }

    assert needed <= names
