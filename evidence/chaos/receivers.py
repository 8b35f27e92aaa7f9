"""Processes of the function, each replaced when it is killed, and the faulty AWS that they call."""

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol

from evidence.chaos import deliveries, services
from evidence.chaos.deliveries import Delivery
from evidence.chaos.faults import FAULTS, Kill
from evidence.chaos.journal import Invocation, Journal, Made
from evidence.chaos.services import Answer, Break, Call, Serve, Services
from tests.support import asyncio_http as http, lambda_runtime as runtime
from tests.support.lambda_runtime import TIMEOUT, DeadlineError, Function, Instance, InvocationError, KilledError

_IN_THE_PROCESS = ("handler_with_clock.py", "mutations.py")


class Clock:
    """Simulated time in Unix seconds. It runs like real time, and jumps ahead when nothing is in progress."""

    def __init__(self, begin: float) -> None:
        self.ahead = begin - time.time()

    def now(self) -> float:
        return time.time() + self.ahead

    def leap(self, to: float) -> None:
        """Move the clock ahead, never back."""
        self.ahead += max(0.0, to - self.now())


class Director(Protocol):
    """Decides what goes wrong, and is called with what happens."""

    def fault(self, invocation: Invocation, operation: str) -> str: ...

    def published(self, invocation: Invocation, entry: Mapping[str, Any]) -> None: ...

    def ended(self, invocation: Invocation) -> None: ...


class Process(NamedTuple):
    caller: str
    """The access key id with which it signs its calls."""
    instance: Instance


class Receivers:
    """`launch` starts a process that signs with the access key id in its argument."""

    def __init__(
        self, launch: Callable[[str], Awaitable[Instance]], clock: Clock, journal: Journal, director: Director
    ) -> None:
        self._launch, self._clock, self._journal, self._director = launch, clock, journal, director
        self._idle: asyncio.Queue[Process] = asyncio.Queue()
        self._alive: dict[str, Instance] = {}
        self._in_progress: dict[str, tuple[Invocation, Kill | None]] = {}
        self.started = 0

    async def start(self) -> None:
        """Start a process."""
        self.started += 1
        process = Process(f"PROCESS{self.started}", await self._launch(f"PROCESS{self.started}"))
        self._alive[process.caller] = process.instance
        self._idle.put_nowait(process)

    async def close(self) -> None:
        """Kill all processes."""
        for instance in self._alive.values():
            instance.kill()
        await asyncio.sleep(0)  # Let their connections close.

    async def idle(self) -> Process:
        """Wait for an idle process. The caller must invoke it."""
        return await self._idle.get()

    async def invoke(
        self,
        process: Process,
        delivery: Delivery,
        *,
        secrets: Sequence[str],
        attempt: str,
        kill: Kill | None = None,
    ) -> Invocation:
        """Let a process handle a delivery that is signed with `secrets`, and kill it when `kill` says so."""
        now = self._clock.now()
        request = deliveries.request(delivery, secrets=secrets, now=int(now))
        invocation = Invocation(delivery, attempt, process.caller, now, secrets)
        self._journal.begin(invocation)
        self._in_progress[process.caller] = invocation, kill
        timed_kill = asyncio.get_running_loop().call_later(
            kill.seconds if kill and not kill.operation else TIMEOUT + 1, process.instance.kill
        )
        try:
            answer = json.loads(await process.instance.invoke(request, seconds=TIMEOUT, ahead=self._clock.ahead))
        except DeadlineError:
            invocation.outcome = "timed out"
        except KilledError:
            invocation.outcome = "killed"
        except InvocationError:
            invocation.outcome = "raised"
        else:
            invocation.status = answer["statusCode"]
            [invocation.outcome] = json.loads(answer["body"]).values()
        timed_kill.cancel()
        invocation.ended = self._clock.now()
        self._director.ended(invocation)
        if process.instance.alive:
            self._idle.put_nowait(process)
        else:
            del self._alive[process.caller]
            await self.start()
        return invocation

    def middleware(self, call: Call, serve: Serve) -> Answer | Break:
        """Apply the fault and the kill of a call, and record it."""
        invocation, kill = self._in_progress[call.caller]
        if kill == Kill(call.operation, "before"):
            self._alive[call.caller].kill()
            return "reset"
        answers = []

        def note(call: Call) -> Answer:
            answers.append(serve(call))
            return answers[0]

        fault = self._director.fault(invocation, call.operation)
        seen = FAULTS[fault](call, note) if fault else note(call)
        took_effect = any(answer.status == 200 and not answer.body.get("FailedEntryCount") for answer in answers)
        made = Made(call.operation, self._clock.now(), fault, took_effect)
        self._journal.add(invocation, made, retry=call.retry)
        if call.operation == "PutEvents" and took_effect:
            self._director.published(invocation, call.parameters["Entries"][0])
        if kill == Kill(call.operation, "after"):
            self._alive[call.caller].kill()
            return "reset"
        return seen


@asynccontextmanager
async def running(
    size: int, *, artifact: Path, function: Function, secret: str, clock: Clock, journal: Journal, director: Director
) -> AsyncIterator[tuple[Receivers, Services]]:
    """Run `size` processes of the artifact and the services that they call."""
    with TemporaryDirectory() as folder:
        packages = runtime.client(Path(folder, "client"), "time-machine")
        for name in _IN_THE_PROCESS:
            (packages / name).symlink_to(Path(__file__).with_name(name))

        async def launch(caller: str) -> Instance:
            variables = {**environment, "AWS_ACCESS_KEY_ID": caller}
            return await Instance.start([artifact], variables, stderr=subprocess.DEVNULL)

        receivers = Receivers(launch, clock, journal, director)
        aws = services.declared_by(function.environment, secret=secret, middleware=receivers.middleware)
        server = await http.listen(aws.handle)
        environment = {
            **runtime.environment(function, endpoint=f"http://{http.LOOPBACK}:{http.port(server)}", packages=packages),
            "_HANDLER": "handler_with_clock.handler",
        }
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(size):
                    group.create_task(receivers.start())
            yield receivers, aws
        finally:
            await receivers.close()
            await http.close(server)
