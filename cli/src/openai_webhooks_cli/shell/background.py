"""Calls in threads."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

Result = TypeVar("Result")


def start(function: Callable[[], Result]) -> Future[Result]:
    """Call a function in a thread. Unlike a pool's thread, it does not keep the process alive after Ctrl-C."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001  # the reader of the future raises it
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future
