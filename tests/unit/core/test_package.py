"""What subscribers in other repositories install: the wheel, its one dependency, and a core without I/O."""

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

import openai_webhooks

ROOT = Path(__file__).parents[3]
SOURCE = ROOT / "src" / "openai_webhooks"
MODULES = sorted(path.name for path in SOURCE.glob("*.py"))


def run(*arguments: str) -> str:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ZipFile]:
    directory = tmp_path_factory.mktemp("wheel")
    run("-m", "hatchling", "build", "-t", "wheel", "-d", str(directory))
    (path,) = directory.iterdir()
    with ZipFile(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def installed(wheel: ZipFile, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("installed")
    wheel.extractall(directory)
    return directory


def test_wheel_holds_the_core_only(wheel: ZipFile) -> None:
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert files == {f"openai_webhooks/{name}" for name in [*MODULES, "py.typed"]}


def test_wheel_needs_pydantic_only(wheel: ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(path))
    assert metadata["Name"] == "openai-webhooks"
    assert metadata.get_all("Requires-Dist") == ["pydantic>=2.11"]


def test_import_loads_nothing_of_the_receiver(installed: Path) -> None:
    """In an interpreter that knows the wheel and site-packages, and not this project's editable install."""
    script = (
        f"import sys; sys.path[:0] = {[str(installed), sysconfig.get_path('purelib')]!r};"
        "import json, openai_webhooks; print(json.dumps([openai_webhooks.__file__, *sys.modules]))"
    )
    file, *modules = json.loads(run("-I", "-S", "-c", script))
    assert Path(file) == installed / "openai_webhooks" / "__init__.py"
    packages = {module.partition(".")[0] for module in modules}
    assert packages.isdisjoint({"aws_lambda_powertools", "boto3", "botocore", "openai", "receiver", "requests"})


def imports(module: str) -> set[str]:
    """The packages that a module of the core imports, in functions too."""
    packages = set()
    for node in ast.walk(ast.parse((SOURCE / module).read_text())):
        if isinstance(node, ast.Import):
            packages |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            packages.add((node.module or "").partition(".")[0])
    return packages


@pytest.mark.parametrize("module", MODULES)
def test_core_has_no_io_clock_or_environment(module: str) -> None:
    assert imports(module).isdisjoint(
        {"asyncio", "datetime", "http", "io", "logging", "os", "pathlib", "random", "secrets", "socket", "subprocess"}
        | {"sys", "threading", "time", "urllib"}
    )


@pytest.mark.parametrize("module", MODULES)
def test_core_imports_pydantic_and_the_standard_library_only(module: str) -> None:
    ours = {"openai_webhooks", "pydantic", "pydantic_core"}
    assert imports(module) <= ours | sys.stdlib_module_names


@pytest.mark.parametrize(
    ("error", "status", "retry_after"),
    [
        pytest.param(openai_webhooks.Malformed, 400, None, id="Malformed"),
        pytest.param(openai_webhooks.Unverified, 401, None, id="Unverified"),
        pytest.param(openai_webhooks.InProgress, 409, 10, id="InProgress"),
        pytest.param(openai_webhooks.TooLarge, 413, None, id="TooLarge"),
        pytest.param(openai_webhooks.NotConfigured, 503, 30, id="NotConfigured"),
        pytest.param(openai_webhooks.PublishFailed, 503, 5, id="PublishFailed"),
    ],
)
def test_status(error: type[openai_webhooks.NotAccepted], status: int, retry_after: int | None) -> None:
    assert (error.status, error.retry_after) == (status, retry_after)
