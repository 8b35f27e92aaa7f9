"""Programs that run while the tests run."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.paths import ROOT


class Background(NamedTuple):
    """A running program."""

    process: subprocess.Popen[bytes]
    output: Path

    def text(self) -> str:
        """Return what the program has printed so far, on both streams."""
        return self.output.read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """Return its JSON lines so far: the functions' logs."""
        complete, _, _ = self.text().rpartition("\n")  # the last line may be incomplete
        return [json.loads(line) for line in complete.splitlines() if line.startswith("{")]


def wait_until[Found](found: Callable[[], Found], what: str, *, seconds: int = 60, pause: float = 0.05) -> Found:
    """Wait until `found` returns something true, and return that. `pause` is the time between calls, in seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(pause)
    pytest.fail(f"{what}: not within {seconds} s")


@contextmanager
def background(
    *command: str | Path, ready: str, output: Path, cwd: Path = ROOT, env: Mapping[str, str] | None = None
) -> Iterator[Background]:
    """Start a program, wait until it prints `ready`, and end it with the `with` statement."""
    with output.open("wb") as file, program(command, cwd=cwd, env=env, stdout=file, stderr=file) as process:
        running = Background(process, output)
        wait_until(lambda: ready in running.text() or process.poll() is not None, f"{ready!r} from {shown(command)}")
        if process.poll() is not None:
            pytest.fail(f"{shown(command)} ended with {process.returncode}:\n{running.text()}", pytrace=False)
        yield running


@contextmanager
def program(command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program, and end it with the `with` statement."""
    # In its own session, Ctrl-C does not reach the program. It gets SIGINT here, because `sam local` does not remove
    # its containers if it gets SIGTERM while it starts them.
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            finally:
                process.kill()


def shown(command: Sequence[str | Path]) -> str:
    return " ".join(map(str, command))


def free_port() -> int:
    """Return a port of the loopback address on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
