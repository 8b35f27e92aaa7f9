"""Lambda functions in processes of their own, each with the code, environment and context that Lambda gives it.

This module imports only the standard library, so a function's process contains only what the function imports.
"""

import importlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple


class Function(NamedTuple):
    """A function as its template declares it."""

    name: str
    code: Path
    handler: str
    timeout: int  # seconds
    memory: int  # MB
    environment: Mapping[str, str]
    inbox: str | None
    """URL of the queue with the events to invoke it with. None if no rule has the function as its target."""

    @property
    def short_name(self) -> str:
        return self.name.removesuffix("Function")


class FunctionPool:
    """`size` processes that run a function. Each handles one event at a time.

    The functions' output is appended to the file `log`.
    """

    def __init__(self, function: Function, *, log: Path, size: int = 1) -> None:
        self.function = function
        with _sigint_blocked():
            self._pool = ProcessPoolExecutor(
                size, mp_context=get_context("spawn"), initializer=_initialize, initargs=(function, log)
            )
            # The executor starts a process only when there is work that no idle process can take.
            self._ready = [self._pool.submit(time.sleep, 0.05) for _ in range(size)]

    def wait_until_ready(self) -> None:
        """Wait until every process has imported the function's code."""
        for ready in self._ready:
            ready.result()

    def invoke(self, event: Any) -> Future[Any]:
        """Invoke the function. The future has what the function returns or raises."""
        return self._pool.submit(_invoke, event)

    def close(self) -> None:
        """Stop the processes after the events that they are handling."""
        self._pool.shutdown(cancel_futures=True)


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Start processes that ignore Ctrl-C: the parent process handles it, and closes the pool."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@dataclass(frozen=True)
class LambdaContext:
    """Lambda's context object, with the parts that functions and Powertools use."""

    function_name: str
    memory_limit_in_mb: int
    invoked_function_arn: str
    aws_request_id: str
    deadline: float  # in seconds of time.monotonic()

    def get_remaining_time_in_millis(self) -> int:
        return int((self.deadline - time.monotonic()) * 1000)


_function: Function
_handler: Callable[[Any, LambdaContext], Any]


def _initialize(function: Function, log: Path) -> None:
    global _function, _handler  # noqa: PLW0603  # a process runs one function, so the function is its global state
    with log.open("ab") as file:
        os.dup2(file.fileno(), sys.stdout.fileno())
        os.dup2(file.fileno(), sys.stderr.fileno())
    os.environ.clear()
    os.environ.update(function.environment)
    sys.path.insert(0, str(function.code))
    module, _, name = function.handler.rpartition(".")
    _handler = getattr(importlib.import_module(module), name)
    _function = function


def _invoke(event: Any) -> Any:
    context = LambdaContext(
        function_name=_function.name,
        memory_limit_in_mb=_function.memory,
        invoked_function_arn=f"arn:aws:lambda:{os.environ['AWS_REGION']}:123456789012:function:{_function.name}",
        aws_request_id=str(uuid.uuid4()),
        deadline=time.monotonic() + _function.timeout,
    )
    try:
        return _handler(event, context)
    finally:
        sys.stdout.flush()
