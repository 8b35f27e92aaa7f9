"""The `openai-webhooks` program."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


def run() -> None:
    """Run the command line."""
    with quiet_ctrl_c():
        from openai_webhooks_cli.main import app  # noqa: PLC0415  # Ctrl-C can come while Python imports it

    app()


@contextmanager
def quiet_ctrl_c() -> Iterator[None]:
    """End at once, and without a traceback, after a Ctrl-C within the `with` statement."""
    previous = signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
    yield
    # None: a handler that was not set by Python.
    signal.signal(signal.SIGINT, previous or signal.default_int_handler)
