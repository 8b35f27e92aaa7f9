"""Imports that this machine has and Lambda does not."""

from pathlib import Path
from typing import Final

import pytest

from openai_webhooks_cli.local import requirements

CODE: Final = """
import boto3, requests.adapters, yaml, own
from typing import TYPE_CHECKING
from dateutil import parser
from openai_webhooks import parse
from .certifi import where
if TYPE_CHECKING:
    import flask
def handler(event, context):
    import pydantic
"""
MODULES: Final = ["boto3", "certifi", "dateutil", "openai_webhooks", "own", "pydantic", "requests", "yaml"]
ALL: Final = ["openai_webhooks", "pydantic", "requests", "yaml"]

FILES: Final = {
    "empty": ("# nothing\n", ALL),
    "names and versions": ("requests==2.0 ; python_version > '3'\nPyYAML>=1,<99 # x", ["openai_webhooks", "pydantic"]),
    "hashes": (
        "requests==2.0 \\\n    --hash=sha256:1 \\\n    --hash=sha256:2\n    # via x\npyyaml",
        ["openai_webhooks", "pydantic"],
    ),
    "dependency": ("openai-webhooks", ["requests", "yaml"]),
    "dependency of an extra": ("aws-lambda-powertools[parser]", ["openai_webhooks", "requests", "yaml"]),
    "extra that is not requested": ("aws-lambda-powertools", ALL),
    "marker of another system": ("requests; sys_platform == 'nowhere'", ALL),
    "folder next to the template": ("./project", ["requests", "yaml"]),
    "other file": ("--index-url https://example.com\n-r other.txt", ["openai_webhooks", "pydantic", "yaml"]),
    "name with a URL": ("openai-webhooks @ git+https://example.com/x@v1", ["requests", "yaml"]),
    # What these bring is not known here.
    "name that is not installed": ("nothing-of-that-name", []),
    "folder without project": ("./nothing", []),
    "archive": ("./nothing-1.0-py3-none-any.whl", []),
    "URL": ("https://example.com/x.zip", []),
    "editable": ("--editable ../project", []),
    "missing file": ("-r nothing.txt", []),
}
"""Requirements files, and the modules of the code that Lambda does not have."""


@pytest.mark.parametrize(("text", "expected"), FILES.values(), ids=FILES)
def test_missing_modules(tmp_path: Path, text: str, expected: list[str]) -> None:
    code, project = tmp_path / "functions", tmp_path / "project"
    for folder in (code, project):
        folder.mkdir()
    (project / "pyproject.toml").write_text('[project]\nname = "openai_webhooks"')
    (code / "other.txt").write_text("requests")
    (code / "app.py").write_text(CODE)
    (code / "requirements.txt").write_text(text)

    found = requirements.missing([code / "requirements.txt"], files=[str(code / "app.py")], modules=MODULES)

    assert found == expected
