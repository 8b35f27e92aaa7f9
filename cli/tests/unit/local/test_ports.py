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


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("address", [LOOPBACK, ""], ids=["loopback", "all addresses"])
def test_error_names_process(address: str) -> None:
    with socket.create_server((address, 0)) as server:
        assert f"PID {os.getpid()}" in _error(server.getsockname()[1])


def test_error_names_other_dev(tmp_path: Path) -> None:
    program = tmp_path / "openai-webhooks"
    program.write_text(
        "import socket\n"
        "server = socket.create_server(('127.0.0.1', 0))\n"
        "print(server.getsockname()[1], flush=True)\n"
        "input()\n"
    )
    command = [sys.executable, str(program), "dev"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
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

    error = _error(taken, option)
    *arguments, last_option, port = shlex.split(_suggested(error))

    assert arguments == kept
    assert last_option == option
    # sam local reads the port of the embedded AWS from a file.
    assert ("sam-local.env.json" in error) == (option == "--aws-port")
    with listen(int(port), option):
        pass


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
