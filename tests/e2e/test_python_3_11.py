"""The core's wheel on Python 3.11, its oldest Python, with the locked pydantic."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from openai_webhooks import sign
from tests.support.paths import ROOT

UV: Final = ROOT / ".venv-uv/bin/uv"
BODY: Final = '{"id": "evt_1", "created_at": 1750287018, "type": "response.completed", "data": {"id": "resp_1"}}'
SIGNATURE: Final = sign(BODY.encode(), webhook_id="wh_1", timestamp=1_750_861_210, key=bytes(32))
UNWRAP: Final = """
import sys
from openai_webhooks import unwrap

_, body, signature = sys.argv
headers = {"webhook-id": "wh_1", "webhook-timestamp": "1750861210", "webhook-signature": signature}
event = unwrap(body.encode(), headers, keys=[bytes(32)], now=1750861210)
print(sys.version_info[:2], type(event).__name__)
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python 3.11 with the wheel and its locked requirements. uv downloads it if the machine has none."""
    folder = tmp_path_factory.mktemp("3.11")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    [wheel] = folder.glob("*.whl")
    python = folder / "venv/bin/python"
    run(UV, "venv", "-q", "--no-project", "--python", "3.11", folder / "venv")
    run(UV, "pip", "install", "-q", "--python", python, "--require-hashes", "-r", "src/requirements.txt")
    run(UV, "pip", "install", "-q", "--python", python, "--no-deps", wheel)
    return python


def run(*command: str | Path) -> str:
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def test_delivery_is_verified_and_unwrapped(python: Path) -> None:
    assert run(python, "-I", "-c", UNWRAP, BODY, SIGNATURE) == "(3, 11) ResponseCompletedWebhookEvent"


def test_every_module_compiles(python: Path) -> None:
    """Syntax alone can be checked on any Python, but not all of it: nested quotes in an f-string, for example."""
    [package] = python.parents[1].glob("lib/python3.11/site-packages/openai_webhooks")

    run(python, "-m", "compileall", "-q", "-f", package)
