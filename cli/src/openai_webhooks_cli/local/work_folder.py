"""The temporary folder of a running `demo` or `dev`, and how they end."""

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rich.console import Console

_PREFIX = "openai-webhooks-"
_LOCK = "running"
"""A file that is locked while the folder's owner runs. A lock ends with its process, even if that is killed."""


@contextmanager
def work_folder() -> Iterator[Path]:
    """Create a folder for the `with` statement, and delete the folders of processes that were killed.

    An exception keeps the folder until the next run, because it has the logs.
    """
    _delete_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    with (folder / _LOCK).open("w") as lock:
        _try_lock(lock)
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _delete_abandoned() -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_LOCK}"):
        # Another process may delete it at the same time, or it may be another user's.
        with suppress(OSError), lock.open("r+") as file:
            if _try_lock(file):
                shutil.rmtree(lock.parent, ignore_errors=True)


def _try_lock(file: IO[str]) -> bool:
    try:
        import fcntl  # noqa: PLC0415  # Windows does not have it
    except ImportError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def end_on_signals(console: Console, folder: Path, *, interrupt_status: int) -> None:
    """From now on, end this process at once after Ctrl-C, TERM or HUP, and delete the folder.

    Nothing else has to be put in order: the functions' processes end when this one does. A signal raises no exception,
    because Python ignores an exception in a signal handler if a finalizer is running.
    """

    def end(number: int, _: object) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        show_cursor = b"\x1b[?25h" if console.is_terminal else b""
        os.write(sys.stdout.fileno(), show_cursor + b"\nStopped.\n")
        os._exit(interrupt_status if number == signal.SIGINT else 128 + number)

    # A shell starts background jobs with SIGINT ignored.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)
