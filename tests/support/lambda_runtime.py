"""Lambda's runtime API for one process of the function: start it, invoke it, and kill it at its deadline or earlier.

The process finds only the artifact, Lambda's own runtime client, and what the caller adds.
Source: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import distribution
from itertools import count
from pathlib import Path
from typing import NamedTuple, Self

from tests.support import asyncio_http as http
from tests.support.moto_stack import CREDENTIALS
from tests.support.templates import receiver_environment, receiver_memory, receiver_timeout

TIMEOUT = receiver_timeout()
"""The function's timeout in seconds. The claim of a killed process expires after it."""

_ARN = "arn:aws:lambda:us-east-1:123456789012:function:ReceiverFunction:live"
_request_ids = count(1)


class Function(NamedTuple):
    """A function as its template declares it."""

    handler: str
    memory: int  # MB
    environment: Mapping[str, str]


class InvocationError(Exception):
    """The function raised an exception. The text is its report."""


class KilledError(Exception):
    """The process was killed before it answered."""


class DeadlineError(KilledError):
    """The process was killed at its deadline."""


class Instance:
    """A process of the function that is initialized and asks for its first event."""

    began: float
    """When the process was started, in seconds of time.perf_counter()."""
    alive = True
    _server: asyncio.Server
    _process: subprocess.Popen[bytes]

    def __init__(self) -> None:
        self._asking: asyncio.Future[http.Connection] = asyncio.Future()
        self._answer: asyncio.Future[bytes] = asyncio.Future()

    @classmethod
    async def start(
        cls,
        path: Sequence[Path],
        environment: Mapping[str, str],
        *,
        stdout: int = subprocess.DEVNULL,
        stderr: int | None = None,
    ) -> Self:
        """Start a process.

        `path` starts with the task root. `environment` comes from the function of that name. `stdout`, where the
        function logs, and `stderr` are passed to subprocess.
        """
        self = cls()
        self._server = await http.listen(self._handle)
        self.began = time.perf_counter()
        # In its own session, the process does not receive Ctrl-C. The caller kills it.
        self._process = subprocess.Popen(  # noqa: ASYNC220  # starting a process takes a millisecond
            [f"{sys.base_prefix}/bin/python3.13", "-S", "-m", "awslambdaric", environment["_HANDLER"]],
            cwd=path[0],
            env={
                **environment,
                "AWS_LAMBDA_RUNTIME_API": f"{http.LOOPBACK}:{http.port(self._server)}",
                "LAMBDA_TASK_ROOT": str(path[0]),
                "PYTHONPATH": os.pathsep.join([*map(str, path), environment["PYTHONPATH"]]),
            },
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(60):
                await self.settle()
        except BaseException:
            self.kill()
            raise
        return self

    async def settle(self) -> None:
        """Wait until the process asks for an event, so that it has finished the event before."""
        await asyncio.shield(self._asking)

    async def invoke(self, event: bytes, *, seconds: float, ahead: float = 0) -> bytes:
        """Pass an event to the function and return its result. Kill the process after `seconds`.

        `ahead` is how far the function's clock is ahead of this clock, in seconds, for a handler that reads it from the
        client context. Raises InvocationError, or KilledError if the process is killed.
        """
        await self.settle()
        if not self.alive:
            raise KilledError
        connection = self._asking.result()
        self._asking, self._answer = asyncio.Future(), asyncio.Future()
        headers = {
            "Lambda-Runtime-Aws-Request-Id": str(next(_request_ids)),
            "Lambda-Runtime-Client-Context": f'{{"custom": {{"ahead": {ahead!r}}}}}',
            "Lambda-Runtime-Deadline-Ms": str(int((time.time() + ahead + seconds) * 1000)),
            "Lambda-Runtime-Invoked-Function-Arn": _ARN,
        }
        connection.answer(200, event, headers)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self._answer)  # An answer may still arrive.
        except TimeoutError:
            self.kill()
            raise DeadlineError from None

    def kill(self) -> None:
        """Kill the process with SIGKILL."""
        self.alive = False
        self._process.kill()
        self._process.wait()
        self._server.close()
        self._server.abort_clients()
        for awaited in (self._asking, self._answer):
            if not awaited.done():
                awaited.set_exception(KilledError())
                awaited.exception()  # Mark it as read: it may have no reader.

    def cpu(self) -> float:
        """Return the CPU time that the process has used so far, in seconds."""
        return time.clock_gettime((~self._process.pid << 3) | 2)  # clock_getcpuclockid(3) of the process

    def peak_memory(self) -> int:
        """Return the peak memory of the process so far, in bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def _handle(self, request: http.Request, connection: http.Connection) -> None:
        if not self.alive:
            return  # The process that sent it has been killed since.
        match request.path.removeprefix("/2018-06-01/runtime/").split("/"):
            case "invocation", "next":
                self._asking.set_result(connection)
            case "invocation", _, "response":
                connection.answer(202)
                self._answer.set_result(request.body)
            case "invocation", _, "error":
                connection.answer(202)
                self._answer.set_exception(InvocationError(request.body.decode()))
            case "init", "error":
                connection.answer(202)
                self._asking.set_exception(InvocationError(request.body.decode()))


def client(folder: Path, *more: str) -> Path:
    """Put Lambda's runtime client and `more` distributions of this environment into a new folder."""
    folder.mkdir()
    for package in map(distribution, ("awslambdaric", "simplejson", "snapshot-restore-py", *more)):
        for top in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            (folder / top).symlink_to(str(package.locate_file(top)))
    return folder


def declared() -> Function:
    """Return the receiver as the template declares it."""
    variables = receiver_environment({"EventBus": "openai-webhooks"})
    return Function("receiver.app.handler", receiver_memory(), variables | CREDENTIALS)


def environment(function: Function, *, endpoint: str, packages: Path) -> dict[str, str]:
    """Return the function's environment as Lambda completes it. `packages` is the folder with the runtime client."""
    return {
        **function.environment,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",  # In Lambda, the task root is read-only.
        "PYTHONPATH": str(packages),
        "_HANDLER": function.handler,
    }
