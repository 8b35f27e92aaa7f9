"""The process of a Lambda function: events in, answers out, as lines of JSON.

    python -P function_process.py <pipe >pipe 2>log

The first line has the function's settings. The process answers it when it has imported the code, or with what went
wrong. After that, each line has an event. What the function prints goes to the log. The process ends when its standard
input does, even if the function is busy, so it never outlives the process that started it.

This module imports only the standard library, so the process contains only what the function imports.
"""

import importlib
import json
import os
import queue
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


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


def main() -> None:
    # The function may print, so the answers get a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_read, args=[lines], daemon=True).start()
    settings = json.loads(lines.get())
    handler: Callable[[Any, LambdaContext], Any] | None = None
    try:
        handler = _import(settings)
        answer = {"result": None}
    except BaseException as error:  # noqa: BLE001  # a module can raise anything, SystemExit too
        answer = _failure(error, settings["code"])
    while True:
        sys.stdout.flush()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if handler is None:
            return
        answer = _invoke(handler, json.loads(lines.get()), settings)


def _read(lines: "queue.SimpleQueue[str]") -> None:
    for line in sys.stdin:
        lines.put(line)
    os._exit(0)


def _import(settings: dict[str, Any]) -> Callable[[Any, LambdaContext], Any]:
    sys.path.insert(0, settings["code"])
    module, _, name = settings["handler"].rpartition(".")
    handler: Callable[[Any, LambdaContext], Any] = getattr(importlib.import_module(module.replace("/", ".")), name)
    return handler


def _invoke(handler: Callable[[Any, LambdaContext], Any], event: Any, settings: dict[str, Any]) -> dict[str, Any]:
    context = LambdaContext(
        function_name=settings["name"],
        memory_limit_in_mb=settings["memory"],
        invoked_function_arn=f"arn:aws:lambda:us-east-1:123456789012:function:{settings['name']}",
        aws_request_id=str(uuid.uuid4()),
        deadline=time.monotonic() + settings["timeout"],
    )
    try:
        result = handler(event, context)
        json.dumps(result)  # Lambda refuses other results too
    except Exception as error:  # noqa: BLE001  # a function can raise anything
        return _failure(error, settings["code"])
    return {"result": result}


def _failure(error: BaseException, code: str) -> dict[str, Any]:
    """Write the traceback to the log, and return what went wrong and where in the function's code."""
    # Not the frames of this module, nor those of importlib.
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    report = traceback.TracebackException.from_exception(error)
    report.stack = traceback.StackSummary.from_list(frames)
    print("".join(report.format()), end="", file=sys.stderr)
    own = [f"{os.path.relpath(f.filename, code)}:{f.lineno}" for f in frames if f.filename.startswith(code)]
    if isinstance(error, SyntaxError) and error.filename:
        own.append(f"{os.path.relpath(error.filename, code)}:{error.lineno}")
    return {
        "error": type(error).__name__,
        "message": str(error).partition("\n")[0],
        "place": own[-1] if own else "",
        "frames": "".join(traceback.format_list(frames[-3:])) + "".join(traceback.format_exception_only(error)),
    }


if __name__ == "__main__":
    main()
