"""The commands, as a user types them."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from openai_webhooks import CATALOGUE
from webhooks.main import app

COMMAND = Path(sys.executable).with_name("webhooks")


@pytest.fixture(scope="module")
def dev() -> Iterator[subprocess.Popen[str]]:
    """`webhooks dev`, in a session of its own as a shell's foreground job has, up and running."""
    with socket.create_server(("127.0.0.1", 0)) as port, socket.create_server(("127.0.0.1", 0)) as aws_port:
        options = [f"--port={port.getsockname()[1]}", f"--aws-port={aws_port.getsockname()[1]}"]
    process = subprocess.Popen(
        [COMMAND, "dev", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture(scope="module")
def url(dev: subprocess.Popen[str]) -> str:
    return _read_until(dev, r"URL +(\S+)")


def test_dev_shows_a_delivery_and_whom_it_reached(dev: subprocess.Popen[str], url: str) -> None:
    sent = run("send", "batch.failed", f"--url={url}", "--data", "id=batch_7")

    assert sent.exit_code == 0
    assert '200 {"outcome": "published"}' in sent.output
    assert _read_until(dev, r"200 published +batch.failed .*-> (.*)") == "OnBatch, OnFailure"


def test_send_redelivers(url: str) -> None:
    assert '"published"' in run("send", "eval.run.failed", f"--url={url}", "--id=wh_again").output
    assert '"duplicate"' in run("send", "eval.run.failed", f"--url={url}", "--id=wh_again").output


@pytest.mark.parametrize("part", ["signature", "timestamp", "body"])
def test_send_tampers(url: str, part: str) -> None:
    sent = run("send", "batch.failed", f"--url={url}", f"--tamper={part}")

    assert sent.exit_code == 1
    assert '401 {"error": "Unverified"}' in sent.output


def test_send_says_that_a_type_is_unknown(url: str) -> None:
    assert "orchestra.tuned is not in the catalogue" in run("send", "orchestra.tuned", f"--url={url}").output


def test_dev_names_a_taken_port(url: str) -> None:
    port = url.split(":")[2].split("/", maxsplit=1)[0]
    result = run("dev", f"--port={port}")

    assert result.exit_code == 2
    assert f"Port {port} is taken" in result.output


def test_ctrl_c_ends_dev_cleanly(dev: subprocess.Popen[str], url: str) -> None:
    os.killpg(dev.pid, signal.SIGINT)
    output, _ = dev.communicate(timeout=10)

    assert dev.returncode == 0
    assert output.endswith("Ended.\n")
    assert "Traceback" not in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--secret=hunter2"], "does not start with `whsec_`", id="secret"),
        pytest.param(["--data=id"], "KEY=VALUE is wanted", id="data"),
        pytest.param(["--url=http://127.0.0.1:9/"], "start `make dev`, or say where with --url", id="nobody there"),
    ],
)
def test_send_says_what_is_wrong(arguments: list[str], message: str) -> None:
    result = run("send", "batch.failed", *arguments)

    assert result.exit_code == 2
    assert message in result.output
    assert "hunter2" not in result.output


def test_events_lists_the_catalogue() -> None:
    output = run("events").output

    assert all(event_type in output for event_type in CATALOGUE)


def test_events_prints_a_sample() -> None:
    assert json.loads(run("events", "realtime.call.incoming").output)["data"]["call_id"].startswith("rtc_")


def test_events_refuses_an_unknown_type() -> None:
    result = run("events", "orchestra.tuned")

    assert result.exit_code == 2
    assert "`webhooks events` lists it" in result.output


def test_events_writes_them(tmp_path: Path) -> None:
    assert run("events", f"--write={tmp_path}").exit_code == 0
    assert len(list(tmp_path.iterdir())) == len(CATALOGUE)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def _read_until(process: subprocess.Popen[str], pattern: str) -> str:
    assert process.stdout
    for line in process.stdout:
        if match := re.search(pattern, line):
            return match[1]
    raise AssertionError(f"{pattern} never came")
