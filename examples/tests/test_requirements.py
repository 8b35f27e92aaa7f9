"""The examples' requirements: complete, and the versions that the tests run with."""

import re
from importlib.metadata import requires
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement

from examples.tests.support.templates import EXAMPLES
from tests.support.paths import ROOT

LAMBDA: Final = {"sys_platform": "linux", "python_version": "3.13", "python_full_version": "3.13.0", "extra": ""}
each_example = pytest.mark.parametrize("functions", [ROOT / "examples" / name / "functions" for name in EXAMPLES])


def pinned(path: Path) -> dict[str, str]:
    """Return the versions of the packages that a locked file installs on Lambda."""
    lines = re.findall(r"^[\w.-]+==[^\\\n]+", path.read_text(), re.MULTILINE)
    return {
        requirement.name: str(requirement.specifier).removeprefix("==")
        for requirement in map(Requirement, lines)
        if applies(requirement)
    }


def applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate(dict(LAMBDA))


@each_example
def test_examples_have_versions_of_tests(functions: Path) -> None:
    example, tests = pinned(functions / "requirements.txt"), pinned(ROOT / "requirements/dev.txt")

    assert example == {name: tests.get(name, version) for name, version in example.items()}


@each_example
def test_every_direct_dependency_is_pinned(functions: Path) -> None:
    direct = re.findall(r"^[\w-]+$", (functions / "requirements.in").read_text(), re.MULTILINE)

    assert direct
    assert set(direct) <= pinned(functions / "requirements.txt").keys()


@each_example
def test_every_transitive_dependency_is_pinned(functions: Path) -> None:
    names = pinned(functions / "requirements.txt").keys()
    needed = {
        requirement.name.lower().replace("_", "-")
        for name in names
        for requirement in map(Requirement, requires(name) or [])
        if applies(requirement)
    }

    assert needed <= names
