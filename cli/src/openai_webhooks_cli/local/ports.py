"""Ports of this machine: listen on one, or name the program that has it."""

import errno
import shlex
import socket
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import psutil

from openai_webhooks_cli.local.wsgi_server import LOOPBACK


class PortTakenError(Exception):
    """The port cannot be used. The text names the program that uses it, if it can, and a command that works."""


def listen(port: int, option: str, host: str = LOOPBACK) -> socket.socket:
    """Listen on a port of `dev`, which `option` sets. 0 chooses a free port. Raises PortTakenError."""
    try:
        return socket.create_server((host, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            problem = f"Port {port} is taken{_by_whom(port, host)}. Stop that program, or use a free port"
        elif error.errno == errno.EACCES:
            problem = f"Only an administrator can use port {port}. Use another port"
        else:
            raise
        note = " and write it into sam-local.env.json for sam local" if option == "--aws-port" else ""
        arguments = _arguments(option, _free_port(port, host))
        raise PortTakenError(f'{problem}{note}:\n  make dev ARGS="{arguments}"') from None


def _by_whom(port: int, host: str) -> str:
    """Return ` by PID ...` if this user may see the process that listens on the port."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # The process has ended, or belongs to another user.
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr in _covering(port, host):
                    return f" by PID {process.pid}, {_description(process)}"
    return ""


def _covering(port: int, host: str) -> list[tuple[str, int]]:
    """Return the addresses that keep others from listening on the port of `host`."""
    return [(address, port) for address in (host, "0.0.0.0", "::")]  # noqa: S104  # compared, not bound


def _description(process: psutil.Process) -> str:
    match [Path(argument).name for argument in process.cmdline()]:
        case [_, "openai-webhooks", "dev", *_] | ["openai-webhooks", "dev", *_]:
            return "another `openai-webhooks dev`"
    return process.name()


def _free_port(port: int, host: str) -> int:
    """Return the next free port. The operating system chooses it if the next ones are taken too."""
    for candidate in [*range(max(port, 1023) + 1, min(port + 100, 65536)), 0]:
        with suppress(OSError), socket.create_server((host, candidate)) as free:
            return int(free.getsockname()[1])
    raise PortTakenError("No port is free.")


def _arguments(option: str, port: int) -> str:
    """Return the arguments of this `dev` with another port."""
    arguments = ["", *sys.argv[2:]] if sys.argv[1:2] == ["dev"] else [""]
    kept = [
        argument
        for previous, argument in pairwise(arguments)
        if previous != option and argument.partition("=")[0] != option
    ]
    return shlex.join([*kept, option, str(port)])
