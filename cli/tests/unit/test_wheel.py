"""What the command's wheel contains: its package, and nothing of the core, which is a wheel of its own."""

import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

from tests.support.paths import ROOT

SOURCES = ROOT / "cli/src"


def test_wheel_contains_whole_package_and_nothing_else(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT / "cli", check=True, capture_output=True)
    [wheel] = tmp_path.glob("*.whl")

    names = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}

    files = [path for path in (SOURCES / "openai_webhooks_cli").rglob("*.*") if path.is_file()]
    built = {"__pycache__", ".aws-sam"}
    assert names == {path.relative_to(SOURCES).as_posix() for path in files if not built & set(path.parts)}
