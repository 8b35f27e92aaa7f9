"""Ctrl-C while Python imports modules."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_ctrl_c() -> Iterator[None]:
    """End at once, and without a traceback, after a Ctrl-C within the `with` statement."""
    previous = signal.signal(signal.SIGINT, lambda *_: os._exit(128 + signal.SIGINT))
    yield
    # None: a handler that was not set by Python.
    signal.signal(signal.SIGINT, previous or signal.default_int_handler)
