"""`make size`: what it prints, and that it fails where it should."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks/size.py"


def _size(artefact: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, artefact], capture_output=True, text=True, check=False)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    """The function, and all that an installed package consists of."""
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


def test_it_prints_each_package(artefact: Path) -> None:
    result = _size(artefact)

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
        pytest.param(bytes(28_000_000), "28.04 MB unpacked are over the budget of 22.80 MB", id="unpacked"),
        pytest.param(random.randbytes(10_000_000), "10.00 MB zipped are over the budget of 8.60 MB", id="zipped"),
    ],
)
def test_it_fails_over_the_budget(artefact: Path, content: bytes, message: str) -> None:
    (artefact / "receiver/data").write_bytes(content)

    result = _size(artefact)

    assert (result.returncode, result.stderr.strip()) == (1, message)


@pytest.mark.parametrize("name", ["hypothesis", "on_batch.py", "openai", "tests", "webhooks"])
def test_it_fails_on_what_no_delivery_needs(artefact: Path, name: str) -> None:
    (artefact / name).write_text("")

    result = _size(artefact)

    assert result.returncode == 1
    assert result.stderr.startswith(f"{name} is in the artefact, and no delivery needs it")


def test_it_says_what_to_run_first(tmp_path: Path) -> None:
    result = _size(tmp_path)

    assert result.returncode == 1
    assert "run `make build`" in result.stderr
