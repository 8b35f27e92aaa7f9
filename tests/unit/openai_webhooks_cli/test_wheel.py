"""The command can be installed alone: its wheel contains the core."""

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.paths import ROOT


def test_wheel_contains_command_and_core(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT / "cli", check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")

    names = set(zipfile.ZipFile(wheel).namelist())

    for package, folder in (("openai_webhooks", "src"), ("openai_webhooks_cli", "cli")):
        files = [path for path in (ROOT / folder / package).rglob("*.*") if "__pycache__" not in path.parts]
        assert {str(path.relative_to(ROOT / folder)) for path in files} <= names
