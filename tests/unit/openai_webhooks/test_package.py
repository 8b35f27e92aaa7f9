"""The package that subscribers install: the wheel, its dependency, its imports and its oldest Python."""

import ast
import email
import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from openai_webhooks import sign
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


def test_wheel_contains_only_core_and_what_subscribers_share(wheel: ZipFile) -> None:
    files = {name for name in wheel.namelist() if ".dist-info/" not in name}
    shared = {path.name for path in (ROOT / "examples/shared/openai_webhooks_subscriber").iterdir() if path.is_file()}
    assert files == {
        *(f"openai_webhooks/{name}" for name in [*MODULES, "py.typed"]),
        *(f"openai_webhooks_subscriber/{name}" for name in shared),
    }


def test_wheel_needs_only_pydantic_and_python_3_11(wheel: ZipFile) -> None:
    (path,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    metadata = email.message_from_bytes(wheel.read(path))
    assert metadata["Name"] == "openai-webhooks"
    required = metadata.get_all("Requires-Dist") or []
    assert [requirement for requirement in required if "extra ==" not in requirement] == ["pydantic>=2.11"]
    assert metadata["Requires-Python"] == ">=3.11"


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


@pytest.mark.parametrize("module", MODULES)
def test_core_imports_no_io_clock_or_environment(module: str) -> None:
    imported = set()
    for node in ast.walk(ast.parse((SOURCE / module).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").partition(".")[0])
    pure = {"base64", "collections", "hashlib", "hmac", "re", "typing"}
    assert imported <= pure | {"openai_webhooks", "pydantic", "pydantic_core"}


# --- Python 3.11


@pytest.fixture(scope="module")
def python_3_11() -> str:
    path = shutil.which("python3.11")
    # A version manager can have a python3.11 on the PATH that only prints an error.
    if path is None or subprocess.run([path, "-c", ""], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("python3.11 is not installed")  # only Python 3.13 is required; the syntax is checked above
    return path


@pytest.mark.parametrize("module", MODULES)
def test_module_has_python_3_11_syntax(module: str) -> None:
    ast.parse((SOURCE / module).read_text(), feature_version=(3, 11))


def test_core_compiles_on_python_3_11(installed: Path, python_3_11: str) -> None:
    """The syntax check above does not notice everything, for example nested quotes in an f-string."""
    run(python_3_11, "-m", "compileall", "-q", "-f", str(installed))


VERIFY = """
import sys
sys.path.insert(0, sys.argv[1])
from openai_webhooks.signature import verify
body = b'{"type": "t"}'
headers = {"webhook-id": "wh_1", "webhook-timestamp": "1750861210", "webhook-signature": sys.argv[2]}
verify(body, headers, keys=[bytes(32)], now=1750861210)
"""
UNWRAP = """
from openai_webhooks import unwrap
assert unwrap(body).type == "t"
fields = b'"id": "evt_1", "created_at": 1750287018, "data": {"id": "resp_1"}'
print(type(unwrap(b'{"type": "response.completed", %b}' % fields)).__name__)
"""
SIGNATURE = sign(b'{"type": "t"}', webhook_id="wh_1", timestamp=1750861210, key=bytes(32))


def test_signature_is_verified_on_python_3_11(installed: Path, python_3_11: str, tmp_path: Path) -> None:
    # Without __init__.py, signature.py can be imported on a Python that has no pydantic.
    modules = shutil.ignore_patterns("__init__.py")
    shutil.copytree(installed / "openai_webhooks", tmp_path / "openai_webhooks", ignore=modules)
    run(python_3_11, "-I", "-c", VERIFY, str(tmp_path), SIGNATURE)


def test_event_is_unwrapped_on_python_3_11(installed: Path, python_3_11: str) -> None:
    if subprocess.run([python_3_11, "-I", "-c", "import pydantic"], check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("python3.11 has no pydantic")  # a test must not install packages outside .venv
    output = run(python_3_11, "-I", "-c", VERIFY + UNWRAP, str(installed), SIGNATURE)
    assert output == "ResponseCompletedWebhookEvent"
