"""PKG-INFO, by which `sam build` recognises the package in a git checkout."""

import tomllib
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_pkg_info_repeats_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    metadata = Parser().parsestr((ROOT / "PKG-INFO").read_text())

    assert (metadata["Name"], metadata["Version"]) == (project["name"], project["version"])
