"""The examples' requirements are complete, have the versions of the tests, and name the shared package in one line."""

import re
import tomllib
from email.parser import Parser
from importlib.metadata import requires
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from examples.tests.support.templates import EXAMPLES
from tests.support.paths import ROOT

LAMBDA: Final = {"sys_platform": "linux", "python_version": "3.13", "python_full_version": "3.13.0", "extra": ""}
FUNCTIONS: Final = [ROOT / "examples" / name / "functions" for name in EXAMPLES]
SHARED: Final = ROOT / "examples/shared"


def test_example_has_versions_of_tests() -> None:
    tests = pinned(ROOT / "requirements/dev.txt")
    for functions in FUNCTIONS:
        example = pinned(functions / "requirements.txt")

        assert example == {name: tests.get(name, version) for name, version in example.items()}, functions


def test_every_dependency_is_pinned() -> None:
    shared = tomllib.loads((SHARED / "pyproject.toml").read_text())["project"]["dependencies"]
    for functions in FUNCTIONS:
        names = pinned(functions / "requirements.txt").keys()
        direct = re.findall(r"^[\w-]+$", (functions / "requirements.in").read_text(), re.MULTILINE)
        lines = [line for name in [*names, "openai-webhooks"] for line in requires(name) or []]
        needed = {
            requirement.name.lower().replace("_", "-")
            for requirement in map(Requirement, [*lines, *direct, *shared])
            if applies(requirement)
        }

        assert needed - {"openai-webhooks"} <= names, functions


def test_one_line_names_a_folder_of_this_repository() -> None:
    for functions in FUNCTIONS:
        paths = {
            name: re.findall(r"^\.\.?/.*$", (functions / name).read_text(), re.MULTILINE)
            for name in ("requirements.in", "requirements.txt")
        }

        assert paths == {"requirements.in": ["../shared"], "requirements.txt": ["../..", "../shared"]}, functions


def test_shared_package_can_be_published_and_installed_from_git() -> None:
    project = tomllib.loads((SHARED / "pyproject.toml").read_text())["project"]
    metadata = Parser().parsestr((SHARED / "PKG-INFO").read_text())

    assert (metadata["Name"], metadata["Version"]) == (project["name"], project["version"])
    assert not [line for line in project["dependencies"] if Requirement(line).url]  # an index refuses these


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
