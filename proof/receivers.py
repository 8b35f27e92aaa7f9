"""The receivers: processes of the function, each replaced when it dies, before an AWS in which things go wrong."""

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, Protocol

from proof import http, runtime, services
from proof.deliveries import Delivery
from proof.faults import FAULTS, Death
from proof.journal import Invocation, Journal, Made
from proof.runtime import TIMEOUT, DeadlineError, Instance, InvocationError, KilledError
from proof.services import Answer, Break, Call, Serve, Services
from webhooks.instances import Function


class Clock:
    """Simulated time, in Unix seconds: it goes as real time does, and leaps while nothing is under way."""

    def __init__(self, begin: float) -> None:
        self.ahead = begin - time.time()

    def now(self) -> float:
        return time.time() + self.ahead

    def leap(self, to: float) -> None:
        self.ahead += max(0.0, to - self.now())


class Director(Protocol):
    """Says what goes wrong, and hears what has happened."""

    def fault(self, invocation: Invocation, operation: str) -> str: ...

    def published(self, invocation: Invocation, entry: Mapping[str, Any]) -> None: ...

    def ended(self, invocation: Invocation) -> None: ...


class Process(NamedTuple):
    caller: str
    """The access key id with which it signs its calls."""
    instance: Instance


class Receivers:
    """`launch` starts a process that signs with the access key id that it is given."""

    def __init__(
        self, launch: Callable[[str], Awaitable[Instance]], clock: Clock, journal: Journal, director: Director
    ) -> None:
        self._launch, self._clock, self._journal, self._director = launch, clock, journal, director
        self._idle: asyncio.Queue[Process] = asyncio.Queue()
        self._alive: dict[str, Instance] = {}
        self._under_way: dict[str, tuple[Invocation, Death | None]] = {}
        self.started = 0

    async def start(self) -> None:
        """Start a process."""
        self.started += 1
        process = Process(f"PROCESS{self.started}", await self._launch(f"PROCESS{self.started}"))
        self._alive[process.caller] = process.instance
        self._idle.put_nowait(process)

    async def close(self) -> None:
        for instance in self._alive.values():
            instance.kill()
        await asyncio.sleep(0)  # for their connections to end

    async def idle(self) -> Process:
        """Wait for a process that has nothing to do. It is the caller's to invoke."""
        return await self._idle.get()

    async def invoke(
        self, process: Process, delivery: Delivery, request: bytes, *, attempt: str, death: Death | None = None
    ) -> Invocation:
        """Let a process take a delivery, and be killed at it if `death` says so."""
        invocation = Invocation(delivery, attempt, process.caller, began=self._clock.now())
        self._journal.begin(invocation)
        self._under_way[process.caller] = invocation, death
        random_death = asyncio.get_running_loop().call_later(
            death.seconds if death and not death.operation else TIMEOUT + 1, process.instance.kill
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
        random_death.cancel()
        invocation.ended = self._clock.now()
        self._director.ended(invocation)
        if process.instance.alive:
            self._idle.put_nowait(process)
        else:
            del self._alive[process.caller]
            await self.start()
        return invocation

    def middleware(self, call: Call, serve: Serve) -> Answer | Break:
        """Stands before the services."""
        invocation, death = self._under_way[call.caller]
        if death == Death(call.operation, "before"):
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
        if death == Death(call.operation, "after"):
            self._alive[call.caller].kill()
            return "reset"
        return seen


@asynccontextmanager
async def running(
    size: int, *, artefact: Path, function: Function, secret: str, clock: Clock, journal: Journal, director: Director
) -> AsyncIterator[tuple[Receivers, Services]]:
    """`size` processes of the artefact and the services that they call, until the end of the `with` statement."""
    assert function.timeout == TIMEOUT, "template.yaml has another Timeout than proof.runtime"
    with TemporaryDirectory() as folder:
        beside = runtime.client(Path(folder, "client"), "time-machine")
        (beside / "clocked.py").symlink_to(Path(__file__).with_name("clocked.py"))

        async def launch(caller: str) -> Instance:
            variables = {**environment, "AWS_ACCESS_KEY_ID": caller}
            return await Instance.start([artefact], variables, stderr=subprocess.DEVNULL)

        receivers = Receivers(launch, clock, journal, director)
        aws = services.declared_by(function.environment, secret=secret, middleware=receivers.middleware)
        server = await http.listen(aws.handle)
        environment = {
            **runtime.environment(function, endpoint=f"http://{http.LOOPBACK}:{http.port(server)}", beside=beside),
            "_HANDLER": "clocked.handler",
        }
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(size):
                    group.create_task(receivers.start())
            yield receivers, aws
        finally:
            await receivers.close()
            await http.close(server)
