"""Stopping in order after Ctrl-C, TERM or HUP."""

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import FrameType
from typing import Any, Self, TypeVar

from openai_webhooks_cli.shell.errors import Stopped

Result = TypeVar("Result")

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class Stop:
    """Whether a signal asked to stop. It takes the signals within the `with` statement.

    A signal raises nothing where it arrives, because Python ignores an exception there if a finalizer is running.
    `check`, `wait` and `result` raise Stopped. A second signal prints the advice of all that is `unfinished`, and ends
    the process at once.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        """`tell` prints what the user has to do, because this process cannot."""
        self.signal_number = 0
        self.leaves_something = False
        self.on_first: Callable[[], None] = lambda: None
        self._tell = tell
        self._advice: list[Callable[[], str]] = []
        self._wake_ups: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            # A shell starts background jobs with SIGINT ignored. Taking it here lets them be stopped anyway.
            self._previous = {number: signal.signal(number, self._take) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def leave(self, advice: str) -> None:
        """Tell the user what could not be cleaned up."""
        self.leaves_something = True
        self._tell(advice)

    @contextlib.contextmanager
    def unfinished(self, advice: Callable[[], str]) -> Iterator[None]:
        """Let a second signal print the advice, until the end of the `with` statement."""
        self._advice.append(advice)
        try:
            yield
        finally:
            self._advice.remove(advice)

    def check(self) -> None:
        """Raise Stopped after a signal."""
        if self.signal_number:
            raise Stopped(self.signal_number)

    def wait(self, seconds: float) -> None:
        """Sleep, or raise Stopped as soon as a signal arrives."""
        with contextlib.suppress(queue.Empty):
            self._wake_ups.get(timeout=seconds)
        self.check()

    def result(self, future: Future[Result]) -> Result:
        """Return the result of a future, or raise Stopped as soon as a signal arrives."""
        future.add_done_callback(lambda _: self._wake_ups.put(None))
        while not future.done():
            self.wait(60)
        return future.result()

    def _take(self, number: int, _: FrameType | None) -> None:
        if self.signal_number:
            for advice in reversed(self._advice):
                self._tell(advice())
            os._exit(128 + number)
        self.signal_number = number
        self._wake_ups.put(None)
        self.on_first()
