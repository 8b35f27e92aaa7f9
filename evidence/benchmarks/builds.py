"""Build the contenders: with `sam build` only, and with everything that `make build` does.

`contenders/` contains a handler and its requirements for each contender, and the code that they share.
"""
# ruff: noqa: S603  # the commands are ours

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from scripts import artifact
from tests.support.paths import ARTIFACT, ROOT

CONTENDERS = Path(__file__).parent / "contenders"
NAMES = ("openai", "standardwebhooks", "aws_quickstart", "minimal_boto3", "no_aws")


class Build(NamedTuple):
    name: str
    """`ours` or one of NAMES."""
    plain: Path | None
    """What `sam build` creates. None if it is not needed."""
    made: Path
    """The same, trimmed and with bytecode, as `make build` creates it."""
    handler: str


def builds(folder: Path, *, targets_only: bool) -> Iterator[Build]:
    """Build the contenders into a folder: all, or the contenders in the targets only. Ours comes first."""
    yield Build("ours", None if targets_only else _sam_build(folder / "ours"), ARTIFACT, "receiver.app.handler")
    for name in ("openai", "minimal_boto3") if targets_only else NAMES:
        plain, made = folder / name, folder / f"{name}-made"
        _install(name, plain)
        _make(plain, made)
        yield Build(name, plain, made, "app.handler")


def _sam_build(target: Path) -> Path:
    sam = ROOT / ".venv-sam/bin"
    subprocess.run(
        [sam / "sam", "build", "--build-dir", target],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{sam}:{os.environ['PATH']}", "SAM_CLI_TELEMETRY": "0"},
        check=True,
        capture_output=True,
    )
    return target / "ReceiverFunction"


def _install(name: str, target: Path) -> None:
    """Do what `sam build` does: install the requirements without bytecode, and copy the code.

    All contenders have the receiver's versions of the packages that both use.
    """
    uv = ROOT / ".venv-uv/bin/uv"
    requirements, locked = CONTENDERS / name / "requirements.txt", ROOT / "evidence/requirements.txt"
    subprocess.run(
        [uv, "pip", "install", "-q", "--python", sys.executable, "--target", target, "-r", requirements, "-c", locked],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(target / "bin", ignore_errors=True)
    for source in (CONTENDERS / name, CONTENDERS / "shared"):
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def _make(plain: Path, made: Path) -> None:
    """Do what `make build` does after `sam build`."""
    shutil.copytree(plain, made)
    if (made / "botocore").exists():
        artifact.trim(made)
    artifact.add_bytecode(made)
