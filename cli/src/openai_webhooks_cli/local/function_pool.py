"""Lambda functions in processes of their own, each with the code, environment and context that Lambda gives it."""

import json
import queue
import select
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from openai_webhooks_cli.local import requirements

_PROCESS = Path(__file__).with_name("function_process.py")
_START_TIMEOUT = 60  # seconds
_LOG_TAIL = 65_536  # bytes of an invocation's output that are kept


class Function(NamedTuple):
    """A function as its template declares it."""

    name: str
    code: Path
    handler: str
    timeout: int  # seconds
    memory: int  # MB
    environment: Mapping[str, str]
    retries: int = 2
    """Of an asynchronous invocation."""
    on_failure: str = ""
    """ARN of the queue that is the destination for failures."""
    dead_letters: str = ""
    """ARN of the queue in DeadLetterConfig."""
    runtime: str = "python3.13"
    log_group: str = ""
    """Empty for Lambda's default."""
    layers: Sequence[Path] = ()
    """What is in `/opt/python` in Lambda, the last layer first."""
    requirements: Sequence[Path] | None = None
    """The requirements files of the code and its layers. None if the packages come from elsewhere too."""

    @property
    def short_name(self) -> str:
        return short_name(self.name)

    def variables(self) -> dict[str, str]:
        """Return the environment of a process: Lambda's PATH, the function's own variables, and the reserved ones."""
        return {
            "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
            **self.environment,
            "_HANDLER": self.handler,
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "LAMBDA_TASK_ROOT": str(self.code),
            "AWS_EXECUTION_ENV": f"AWS_Lambda_{self.runtime}",
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(self.memory),
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_GROUP_NAME": self.log_group or f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d', time.gmtime())}/[$LATEST]{uuid.uuid4().hex}",
        }


def short_name(function: str) -> str:
    """Return the logical id of a function, without the stack's prefix, from its name."""
    return function.rpartition("-")[2].removesuffix("Function")


class Invocation(NamedTuple):
    """What a function returned."""

    result: Any
    log: Sequence[str]
    """The lines that it printed."""


class FunctionFailed(Exception):
    """A function raised, ran out of time, or its process ended. The text has the reason and the place in the code."""

    def __init__(self, reason: str, *, details: str = "", log: Sequence[str] = ()) -> None:
        super().__init__(reason)
        self.details = details
        """The last frames of the traceback, or the end of the log."""
        self.log = log


class FunctionPool:
    """`size` processes that run a function. Each handles one event at a time.

    Each process appends what it prints to a file of its own in `logs`. A process that ended is replaced.
    """

    def __init__(self, function: Function, *, logs: Path, size: int = 1) -> None:
        self.function = function
        self._logs = logs
        self._size = size
        self._idle: queue.SimpleQueue[_Process] = queue.SimpleQueue()
        self._retired: list[_Process] = []
        self._warnings: set[str] = set()
        self._processes = [self._start(number) for number in range(size)]
        for process in self._processes:
            self._idle.put(process)

    def wait_until_ready(self) -> list[str]:
        """Wait until every process has imported the function's code. Raises FunctionFailed if one cannot.

        Return what is different in Lambda, for people. Each warning is returned once.
        """
        for process in list(self._processes):
            imported = process.wait_until_ready()
        warnings = [warning for warning in self._differences(imported) if warning not in self._warnings]
        self._warnings.update(warnings)
        return warnings

    def invoke(self, event: Any) -> Invocation:
        """Invoke the function, as soon as a process is idle. Raises FunctionFailed."""
        process = self._idle.get()
        try:
            if process.has_ended or process not in self._processes:
                process = self._replace(process)
            process.wait_until_ready()
            return process.invoke(event)
        finally:
            self._idle.put(process)

    def restart(self) -> None:
        """Start new processes, with the code as it is now. The old ones finish what they are doing."""
        self._retired += self._processes
        self._processes = [self._start(number) for number in range(self._size)]

    def close(self) -> None:
        """End the processes at once."""
        for process in [*self._processes, *self._retired]:
            process.end()

    def _differences(self, imported: Mapping[str, list[str]]) -> Iterator[str]:
        function, version = self.function, "{}.{}".format(*sys.version_info)
        if function.runtime != f"python{version}":
            yield f"{function.short_name} declares {function.runtime} and runs with {version}."
        if (paths := function.requirements) is not None:
            reason = ", which its requirements.txt does not bring" if paths else " and has no requirements.txt"
            for module in requirements.missing(paths, **imported):
                yield f"{function.short_name} imports {module}{reason}: Lambda will not have it."

    def _start(self, number: int) -> "_Process":
        return _Process(self.function, number, self._logs / f"{self.function.name}-{number + 1}.log")

    def _replace(self, old: "_Process") -> "_Process":
        """Return the successor of a process that ended, or that was started before the last restart."""
        old.end()
        if old in self._processes:
            self._processes[old.number] = self._start(old.number)
        else:
            self._retired.remove(old)
        return self._processes[old.number]


class _Process:
    def __init__(self, function: Function, number: int, log: Path) -> None:
        self.number = number
        self._function = function
        self._log = log
        self._lock = threading.RLock()
        self._failure: FunctionFailed | None = None
        self._imported: dict[str, list[str]] | None = None
        self._position = log.stat().st_size if log.exists() else 0
        with log.open("ab") as file:
            # In a session of its own, because Ctrl-C is for the parent. The process ends with its standard input.
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [sys.executable, "-P", "-u", _PROCESS],
                env=function.variables(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                start_new_session=True,
            )
        settings = {
            "name": function.name,
            "code": str(function.code),
            "handler": function.handler,
            "timeout": function.timeout,
            "layers": [
                *(f"{folder}/lib/{function.runtime}/site-packages" for folder in function.layers),
                *map(str, function.layers),
            ],
        }
        self._send(settings)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait_until_ready(self) -> dict[str, list[str]]:
        """Wait for the import of the code. Return what was imported. Raises FunctionFailed if it failed."""
        with self._lock:
            if self._imported is None and not self._failure:
                try:
                    self._imported = self._receive(_START_TIMEOUT).result
                except FunctionFailed as error:
                    self._failure = error
            if self._failure:
                self.end()
                raise self._failure
            return self._imported or {}

    def invoke(self, event: Any) -> Invocation:
        with self._lock:
            self._send(event)
            return self._receive(self._function.timeout)

    def end(self) -> None:
        """End the process at once. Another thread that invokes it gets FunctionFailed."""
        self._process.kill()
        self._process.wait()
        # The other thread reads to the end of the pipe first.
        with self._lock:
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe:
                    with suppress(BrokenPipeError):
                        pipe.close()

    def _send(self, value: Any) -> None:
        assert self._process.stdin  # noqa: S101  # for mypy
        with suppress(BrokenPipeError):  # the process ended: `_receive` says so
            self._process.stdin.write(json.dumps(value).encode() + b"\n")
            self._process.stdin.flush()

    def _receive(self, seconds: float) -> Invocation:
        assert self._process.stdout  # noqa: S101  # for mypy
        ready, _, _ = select.select([self._process.stdout], [], [], seconds)
        if not ready:
            self.end()
            raise FunctionFailed(f"Task timed out after {seconds:.0f} s", details=self._tail(), log=self._read_log())
        line = self._process.stdout.readline()
        if not line:
            status = self._process.wait()
            log = self._read_log()
            last = f": {log[-1]}" if log else ""
            raise FunctionFailed(f"its process ended with {status}{last}", details=self._tail(), log=log)
        answer, log = json.loads(line), self._read_log()
        if "error" in answer:
            place = f" ({answer['place']})" if answer["place"] else ""
            raise FunctionFailed(f"{answer['error']}: {answer['message']}{place}", details=answer["frames"], log=log)
        return Invocation(answer["result"], log)

    def _read_log(self) -> list[str]:
        """Return what was printed since the last call."""
        with self._log.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(self._position, end - _LOG_TAIL))
            self._position = end
            return file.read().decode(errors="replace").splitlines()

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-5:])
