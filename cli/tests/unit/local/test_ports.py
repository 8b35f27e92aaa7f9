"""Ports that are free, taken, or reserved."""

import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from openai_webhooks_cli.local.ports import PortTakenError, listen
from openai_webhooks_cli.local.wsgi_server import LOOPBACK
from tests.support.paths import ROOT


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


def test_zero_chooses_free_port() -> None:
    with listen(0, "--port") as server:
        assert server.getsockname()[1] > 0


def test_error_names_process(taken: int) -> None:
    assert f"PID {os.getpid()}" in _error(taken)


def test_error_names_process_that_listens_on_all_addresses() -> None:
    with socket.create_server(("", 0)) as server:
        assert f"PID {os.getpid()}" in _error(server.getsockname()[1])


def test_error_names_other_dev(tmp_path: Path) -> None:
    program = tmp_path / "openai-webhooks"
    program.write_text(
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "print(server.getsockname()[1], flush=True)\n"
        "input()\n"
    )
    with subprocess.Popen(
        [sys.executable, program, "dev"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout
        error = _error(int(other.stdout.readline()))
        other.communicate("\n")

    assert f"PID {other.pid}, another `openai-webhooks dev`" in error


@pytest.mark.parametrize(
    ("command_line", "option", "kept"),
    [
        pytest.param("dev", "--port", [], id="no options"),
        pytest.param("dev --port 1 --aws-port=2", "--port", ["--aws-port=2"], id="two words"),
        pytest.param("dev --port 1 --aws-port=2", "--aws-port", ["--port", "1"], id="equals sign"),
        pytest.param("dev --template 'my stack.yaml'", "--port", ["--template", "my stack.yaml"], id="space in a path"),
    ],
)
def test_command_changes_only_port(
    command_line: str, option: str, kept: list[str], taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["openai-webhooks", *shlex.split(command_line)])

    *arguments, last_option, port = shlex.split(_suggested(_error(taken, option)))

    assert arguments == kept
    assert last_option == option
    with listen(int(port), option):
        pass


def test_aws_port_is_also_in_file(taken: int) -> None:
    (file,) = ROOT.glob("*.env.json")
    assert file.name in _error(taken, "--aws-port")
    assert file.name not in _error(taken, "--port")


def test_reserved_port_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    create_server = socket.create_server

    def as_user(address: tuple[str, int]) -> socket.socket:
        if address[1] == 80:
            raise PermissionError(13, "Permission denied")
        return create_server(address)

    monkeypatch.setattr(socket, "create_server", as_user)

    assert int(shlex.split(_suggested(_error(80)))[-1]) > 1023


def _error(port: int, option: str = "--port") -> str:
    with pytest.raises(PortTakenError) as error:
        listen(port, option)
    return str(error.value)


def _suggested(error: str) -> str:
    """Return the options of the command in an error's last line."""
    found = re.search(r'ARGS="(.*)"$', error)
    assert found
    return found[1]
