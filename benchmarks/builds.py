"""The contenders as they are deployed: what `sam build` leaves of each, and the same after the rest of `make build`.

`benchmarks/contenders` holds a handler and its requirements for each, and what they share.
"""
# ruff: noqa: S603  # the commands are its own

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from proof import ROOT
from proof.runtime import ARTEFACT
from webhooks import artefact

CONTENDERS = ROOT / "benchmarks/contenders"
NAMES = ("openai", "standardwebhooks", "aws_quickstart", "floor", "bare")


class Build(NamedTuple):
    name: str
    """`ours`, or one of NAMES."""
    plain: Path | None
    """What `sam build` leaves; None where it wasn't asked for."""
    made: Path
    """The same, trimmed and with bytecode."""
    handler: str


def builds(folder: Path, *, judged: bool) -> Iterator[Build]:
    """Build contenders into a folder, or only what is `judged`. Ours, which `make build` has made, comes first."""
    yield Build("ours", None if judged else _sam_build(folder / "ours"), ARTEFACT, "receiver.app.handler")
    for name in ("openai", "floor") if judged else NAMES:
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
    """Do as `sam build` does: the requirements' wheels, without bytecode, and the code beside them."""
    uv = ROOT / ".venv-uv/bin/uv"
    requirements = CONTENDERS / name / "requirements.txt"
    subprocess.run(
        [uv, "pip", "install", "-q", "--python", ROOT / ".venv", "--target", target, "-r", requirements],
        check=True,
        capture_output=True,
    )
    shutil.rmtree(target / "bin", ignore_errors=True)
    for source in (CONTENDERS / name, CONTENDERS / "shared"):
        shutil.copytree(source, target, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))


def _make(plain: Path, made: Path) -> None:
    """Do as `make build` does."""
    shutil.copytree(plain, made)
    if (made / "botocore").exists():
        artefact.trim(made)
    artefact.add_bytecode(made)
