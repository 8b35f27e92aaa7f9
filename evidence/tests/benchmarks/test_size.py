import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT


def _size(artifact: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evidence.benchmarks.size", str(artifact)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """An artifact with the function and an installed package."""
    for name, content in {
        "receiver/app.py": "#" * 20_000,
        "six.py": "#" * 10_000,
        "__pycache__/six.cpython-313.pyc": "#" * 10_000,
        "six-1.17.0.dist-info/METADATA": "Name: six\n",
        "six-1.17.0.dist-info/RECORD": "six.py,,\nsix-1.17.0.dist-info/METADATA,,\nsix-1.17.0.dist-info/RECORD,,\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    return tmp_path


def test_each_package_is_printed(artifact: Path) -> None:
    result = _size(artifact)

    assert (result.returncode, result.stderr) == (0, "")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["package", "unpacked,", "MB", "zipped,", "MB"],
        ["six", "0.02", "0.00"],
        ["receiver", "0.02", "0.00"],
        ["total", "0.04", "0.00"],
        ["budget", "22.80", "8.60"],
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(bytes(28_000_000), "28.04 MB unpacked exceed the budget of 22.80 MB", id="unpacked"),
        pytest.param(random.randbytes(10_000_000), "10.00 MB zipped exceed the budget of 8.60 MB", id="zipped"),
    ],
)
def test_size_over_budget_fails(artifact: Path, content: bytes, message: str) -> None:
    (artifact / "receiver/data").write_bytes(content)

    result = _size(artifact)

    assert (result.returncode, result.stderr.strip()) == (1, message)


@pytest.mark.parametrize("name", ["hypothesis", "on_batch.py", "openai", "tests", "webhooks"])
def test_unneeded_package_fails(artifact: Path, name: str) -> None:
    (artifact / name).write_text("")

    result = _size(artifact)

    assert result.returncode == 1
    assert result.stderr.startswith(f"{name} is in the artifact, but no delivery needs it")


def test_missing_artifact_names_the_command(tmp_path: Path) -> None:
    result = _size(tmp_path)

    assert result.returncode == 1
    assert "Run make build" in result.stderr
