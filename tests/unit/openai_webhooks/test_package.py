"""The package that subscribers install: the wheel, its dependency, its imports and its oldest Python."""

import ast
import email
import json
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.support.paths import ROOT

SOURCE = ROOT / "src/openai_webhooks"
MODULES = sorted(path.name for path in SOURCE.glob("*.py"))


def run(python: str, *arguments: str) -> str:
    return subprocess.run([python, *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZipFile]:
    directory = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory))
    (path,) = directory.iterdir()
    with ZipFile(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def installed(wheel: ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("installed")
    wheel.extractall(directory)
    return directory


# --- The wheel


def test_wheel_contains_only_core(wheel: ZipFile) -> None:
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == {f"openai_webhooks/{name}" for name in [*MODULES, "py.typed"]}


def test_wheel_needs_only_pydantic_and_python_3_11(wheel: ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(path))
    assert metadata["Name"] == "openai-webhooks"
    assert metadata.get_all("Requires-Dist") == ["pydantic>=2.11"]
    assert metadata["Requires-Python"] == ">=3.11"


def test_description_of_wheel_is_page_of_library(wheel: ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    assert wheel.read(path).decode().endswith((ROOT / "docs/guide/library.md").read_text())


# --- Imports


def test_core_imports_without_the_receiver(installed: Path) -> None:
    # -S: without this project's editable install, so the import can only come from the wheel.
    script = (
        f"import sys; sys.path[:0] = {[str(installed), sysconfig.get_path('purelib')]!r};"
        "import json, openai_webhooks; print(json.dumps([openai_webhooks.__file__, *sys.modules]))"
    )
    file, *modules = json.loads(run(sys.executable, "-I", "-S", "-c", script))
    assert Path(file) == installed / "openai_webhooks" / "__init__.py"
    packages = {module.partition(".")[0] for module in modules}
    assert packages.isdisjoint({"aws_lambda_powertools", "boto3", "botocore", "openai", "receiver", "requests"})


def test_core_imports_no_io_clock_or_environment() -> None:
    pure = {"base64", "collections", "hashlib", "hmac", "re", "typing"}
    for module in MODULES:
        # With the syntax of Python 3.11.
        nodes = list(ast.walk(ast.parse((SOURCE / module).read_text(), feature_version=(3, 11))))
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        packages = {name.partition(".")[0] for name in imported}
        assert packages <= pure | {"openai_webhooks", "pydantic", "pydantic_core"}, module
