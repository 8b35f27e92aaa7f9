"""PKG-INFO, which `sam build` needs to install the package from a git checkout."""

import tomllib
from email.parser import Parser

from tests.support.paths import ROOT


def test_pkg_info_repeats_pyproject() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    metadata = Parser().parsestr((ROOT / "PKG-INFO").read_text())

    assert (metadata["Name"], metadata["Version"]) == (project["name"], project["version"])
