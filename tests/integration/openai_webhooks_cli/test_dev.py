"""`openai-webhooks dev` and `send`, as a user runs them."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from openai_webhooks_cli.main import app

COMMAND = Path(sys.executable).with_name("openai-webhooks")


@pytest.fixture(scope="module")
def dev() -> Iterator[subprocess.Popen[str]]:
    """`openai-webhooks dev` on free ports, in its own session like a foreground job of a shell."""
    with subprocess.Popen(
        [COMMAND, "dev", "--port=0", "--aws-port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        yield process
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def url(dev: subprocess.Popen[str]) -> str:
    return _read_until(dev, r"URL +(\S+)")


def test_dev_prints_command_with_its_url(dev: subprocess.Popen[str], url: str) -> None:
    assert _read_until(dev, r"send response.completed --url (\S+)") == url


def test_dev_prints_delivery_and_its_subscribers(dev: subprocess.Popen[str], url: str) -> None:
    sent = _run("send", "batch.failed", f"--url={url}", "--data", "id=batch_7")

    assert sent.exit_code == 0
    assert '200 {"outcome": "published"}' in sent.output
    assert _read_until(dev, r"200 published +batch.failed .*-> (.*)") == "OnBatch, OnFailure"


def test_same_id_is_duplicate(url: str) -> None:
    assert '"published"' in _run("send", "eval.run.failed", f"--url={url}", "--id=wh_again").output
    assert '"duplicate"' in _run("send", "eval.run.failed", f"--url={url}", "--id=wh_again").output


@pytest.mark.parametrize("part", ["signature", "timestamp", "body"])
def test_tampered_delivery_is_rejected(url: str, part: str) -> None:
    sent = _run("send", "batch.failed", f"--url={url}", f"--tamper={part}")

    assert sent.exit_code == 1
    assert '401 {"error": "Unverified"}' in sent.output


def test_dev_prints_reason_of_rejection(dev: subprocess.Popen[str], url: str) -> None:
    _run("send", "batch.expired", f"--url={url}", "--tamper=timestamp")

    assert "webhook-timestamp" in _read_until(dev, r"401 Unverified +batch.expired +\d+ ms +(.*)")


def test_unknown_type_is_sent_with_notice(url: str) -> None:
    sent = _run("send", "orchestra.tuned", f"--url={url}")

    assert "orchestra.tuned" in sent.output
    assert '200 {"outcome": "published"}' in sent.output


def test_taken_port_is_named(url: str) -> None:
    port = url.split(":")[2].split("/", maxsplit=1)[0]
    result = _run("dev", f"--port={port}")

    assert result.exit_code == 2
    assert port in result.output


def test_ctrl_c_stops_dev_without_traceback(dev: subprocess.Popen[str], url: str) -> None:
    os.killpg(dev.pid, signal.SIGINT)
    output, _ = dev.communicate(timeout=10)

    assert dev.returncode == 0
    assert "Traceback" not in output


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def _read_until(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout
    for line in process.stdout:
        if match := re.search(pattern, line):
            return match[1]
    raise AssertionError(f"no line matches {pattern}")
