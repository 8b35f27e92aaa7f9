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
from types import ModuleType, SimpleNamespace
from typing import Any


class LambdaContext:
    """Lambda's context object, as its runtime client makes it: awslambdaric/lambda_context.py."""

    def __init__(self, name: str, *, deadline: float) -> None:
        """`deadline` is in seconds of time.monotonic()."""
        self.aws_request_id = str(uuid.uuid4())
        self.function_name = name
        self.function_version = os.environ.get("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = f"arn:aws:lambda:us-east-1:123456789012:function:{name}"
        self.memory_limit_in_mb = os.environ.get("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.log_group_name = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = os.environ.get("AWS_LAMBDA_LOG_STREAM_NAME")
        self.identity = SimpleNamespace(cognito_identity_id=None, cognito_identity_pool_id=None)
        self.client_context = self.tenant_id = None
        self._deadline = deadline

    def get_remaining_time_in_millis(self) -> int:
        return max(int((self._deadline - time.monotonic()) * 1000), 0)

    def log(self, msg: object) -> None:
        sys.stdout.write(str(msg))

    def w3c(self) -> dict[str, str]:
        return {}


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
        answer: dict[str, Any] = {"result": _imported(settings)}
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
    os.chdir(settings["code"])
    sys.path[:0] = [settings["code"], *settings["layers"]]
    module_name, dot, name = settings["handler"].rpartition(".")
    if not dot:
        reason = "not enough values to unpack (expected 2, got 1)"
        raise _fault("MalformedHandlerName", f"Bad handler '{name}': {reason}")
    if module_name.partition(".")[0] in sys.builtin_module_names:
        raise _fault("BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module")
    path = module_name.replace("/", ".")
    try:
        module = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if f"{path}.".startswith(f"{error.name}."):
            raise _fault("ImportModuleError", f"Unable to import module '{module_name}': {error}") from None
        raise
    if not hasattr(module, name):
        raise _fault("HandlerNotFound", f"Handler '{name}' missing on module '{module_name}'")
    handler: Callable[[Any, LambdaContext], Any] = getattr(module, name)
    return handler


def _fault(kind: str, message: str) -> Exception:
    """Return an exception with the name and the text that Lambda has for a wrong handler: awslambdaric/bootstrap.py."""
    error: Exception = type(f"Runtime.{kind}", (Exception,), {})(message)
    return error


def _imported(settings: dict[str, Any]) -> dict[str, list[str]]:
    """Return the function's own files that are imported, and the top-level modules from this Python's environment."""
    places: dict[str, str] = {}
    for name, module in sys.modules.copy().items():
        if isinstance(module, ModuleType):
            # Any other access would load a lazy module.
            attributes = object.__getattribute__(module, "__dict__")
            # A namespace package has folders instead of a file.
            places[name] = str(attributes.get("__file__") or next(iter(attributes.get("__path__", ())), ""))
    own = tuple(f"{folder}{os.sep}" for folder in [settings["code"], *settings["layers"]])
    return {
        "files": [place for place in places.values() if place.startswith(own[0]) and place.endswith(".py")],
        "modules": [
            name
            for name, place in places.items()
            if "." not in name and name not in sys.stdlib_module_names and not place.startswith(own)
        ],
    }


def _invoke(handler: Callable[[Any, LambdaContext], Any], event: Any, settings: dict[str, Any]) -> dict[str, Any]:
    context = LambdaContext(settings["name"], deadline=time.monotonic() + settings["timeout"])
    trace = uuid.uuid4().hex
    os.environ["_X_AMZN_TRACE_ID"] = f"Root=1-{int(time.time()):08x}-{trace[:24]};Parent={trace[16:]};Sampled=0"
    try:
        result = handler(event, context)
        json.dumps(result)  # Lambda refuses other results too
    except Exception as error:  # noqa: BLE001  # a function can raise anything
        return _failure(error, settings["code"])
    return {"result": result}


def _failure(error: BaseException, code: str) -> dict[str, Any]:
    """Write the traceback to the log, and return what went wrong and where in the function's code."""
    report = traceback.TracebackException.from_exception(error)
    # Not the frames of this module, nor those of importlib.
    report.stack[:] = [
        frame
        for frame in report.stack
        if frame.filename not in (__file__, importlib.__file__) and not frame.filename.startswith("<frozen importlib")
    ]
    summary = "".join(report.format_exception_only())
    print("".join(report.format()) if report.stack else summary, end="", file=sys.stderr)
    own = [f"{os.path.relpath(f.filename, code)}:{f.lineno}" for f in report.stack if f.filename.startswith(code)]
    if isinstance(error, SyntaxError) and error.filename:
        own.append(f"{os.path.relpath(error.filename, code)}:{error.lineno}")
    return {
        "error": type(error).__name__,
        "message": str(error).partition("\n")[0],
        "place": own[-1] if own else "",
        "frames": "".join(traceback.format_list(report.stack[-3:])) + summary if report.stack else "",
    }


if __name__ == "__main__":
    main()
