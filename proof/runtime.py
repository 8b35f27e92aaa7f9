"""Lambda's runtime API around one process of the function: start it, invoke it, end it at its deadline or earlier.

The process has nothing on its path but the artefact and Lambda's own runtime client, with what is asked for beside it.
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
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
from typing import Self

from proof import ROOT, http
from webhooks.embedded import Aws
from webhooks.instances import Function

ARTEFACT = ROOT / ".aws-sam/build/ReceiverFunction"
TIMEOUT = 10
"""Seconds that template.yaml gives the function; a claim that a process leaves behind holds for as long."""

_ARN = "arn:aws:lambda:us-east-1:123456789012:function:ReceiverFunction:live"
_request_ids = count(1)


class InvocationError(Exception):
    """The function raised. Its text is what it reported."""


class KilledError(Exception):
    """The process was ended before it had answered."""


class DeadlineError(KilledError):
    """It was ended because its time was up."""


class Instance:
    """A process of the function that has come as far as asking for its first event."""

    began: float
    """When the process was started, in time.perf_counter()'s seconds."""
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
        """Start a process. `path` begins with the task root; `environment` is what `environment` gives.

        `stdout`, where the function logs, and `stderr` are as for subprocess.
        """
        self = cls()
        self._server = await http.listen(self._handle)
        self.began = time.perf_counter()
        # In a session of its own, Ctrl-C doesn't reach it: whoever started it ends it.
        self._process = subprocess.Popen(  # noqa: ASYNC220, S603  # starting takes a millisecond
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
        """Wait until it asks for an event: what it did for the one before is done."""
        await asyncio.shield(self._asking)

    async def invoke(self, event: bytes, *, seconds: float, ahead: float = 0) -> bytes:
        """Hand over an event and return what the function returns. It is ended after `seconds`.

        `ahead` is by how many seconds the function's clock is ahead of this one, if it has one of its own
        (proof.clocked). Raises InvocationError, or KilledError if the process is ended.
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
                return await asyncio.shield(self._answer)  # it may still come, before the process is ended
        except TimeoutError:
            self.kill()
            raise DeadlineError from None

    def kill(self) -> None:
        """End the process at once, as SIGKILL does."""
        self.alive = False
        self._process.kill()
        self._process.wait()
        self._server.close()
        self._server.abort_clients()
        for awaited in (self._asking, self._answer):
            if not awaited.done():
                awaited.set_exception(KilledError())
                awaited.exception()  # nobody may wait for it

    def cpu(self) -> float:
        """Seconds of processor time that it has taken so far."""
        return time.clock_gettime((~self._process.pid << 3) | 2)  # what clock_getcpuclockid(3) gives for its pid

    def peak_memory(self) -> int:
        """The most bytes that it has had in memory so far."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def _handle(self, request: http.Request, connection: http.Connection) -> None:
        if not self.alive:
            return  # it was read from a process that has been killed since
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
    """Put Lambda's runtime client, and more distributions of this environment, into a new folder."""
    folder.mkdir()
    for package in map(distribution, ("awslambdaric", "simplejson", "snapshot-restore-py", *more)):
        for top in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            (folder / top).symlink_to(str(package.locate_file(top)))
    return folder


def declared() -> Function:
    """The receiver as the template declares it."""
    aws = Aws()
    function = aws.deploy(ROOT / "template.yaml", "openai-webhooks").functions["ReceiverFunction"]
    aws.close()
    return function


def environment(function: Function, *, endpoint: str, beside: Path) -> dict[str, str]:
    """The function's environment as Lambda completes it; `beside` is the folder with the runtime client."""
    return {
        **function.environment,
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "PATH": os.environ["PATH"],
        "PYTHONDONTWRITEBYTECODE": "1",  # the task root is read-only in Lambda
        "PYTHONPATH": str(beside),
        "_HANDLER": function.handler,
    }
