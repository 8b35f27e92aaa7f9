"""Functions in processes of their own, with the code, the environment and the context that Lambda would give them.

Nothing beyond the standard library is imported here, so that an instance holds what its function imports.
"""

import importlib
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
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
    """URL of the queue whose messages are its invocations; None where no rule has it as a target."""

    @property
    def title(self) -> str:
        return self.name.removesuffix("Function")


class Instances:
    """`count` instances of a function. Each takes one event at a time; what it prints goes into the file `log`."""

    def __init__(self, function: Function, *, log: Path, count: int = 1) -> None:
        self.function = function
        # Ctrl-C is for the parent, which closes the pool: its children are born with the signal blocked.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self._pool = ProcessPoolExecutor(
            count, mp_context=get_context("spawn"), initializer=_initialize, initargs=(function, log)
        )
        # An instance starts when there is work for it: these have work for all.
        self._started = [self._pool.submit(time.sleep, 0.05) for _ in range(count)]
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def wait(self) -> None:
        """Wait until all instances have imported their code."""
        for started in self._started:
            started.result()

    def invoke(self, event: Any) -> Future[Any]:
        """Invoke the function. The future holds what it returns or raises."""
        return self._pool.submit(_invoke, event)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Context:
    """Lambda's context object, as far as functions and Powertools use it."""

    function_name: str
    memory_limit_in_mb: int
    invoked_function_arn: str
    aws_request_id: str
    deadline: float  # in time.monotonic()'s seconds

    def get_remaining_time_in_millis(self) -> int:
        return int((self.deadline - time.monotonic()) * 1000)


_function: Function
_handler: Callable[[Any, Context], Any]


def _initialize(function: Function, log: Path) -> None:
    global _function, _handler  # noqa: PLW0603  # the process is the instance, and this is its state
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
    context = Context(
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
