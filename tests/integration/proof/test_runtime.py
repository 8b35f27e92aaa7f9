"""A process under Lambda's runtime client, in the hands of those who give up on it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from proof import runtime
from proof.runtime import DeadlineError, Instance
from webhooks.instances import Function

HANDLER = "import time\ndef handler(seconds, context): time.sleep(seconds); return seconds\n"


@asynccontextmanager
async def _started(folder: Path) -> AsyncIterator[Instance]:
    (folder / "app.py").write_text(HANDLER)
    function = Function("f", folder, "app.handler", timeout=5, memory=128, environment={}, inbox=None)
    beside = runtime.client(folder / "client")
    instance = await Instance.start([folder], runtime.environment(function, endpoint="", beside=beside))
    try:
        yield instance
    finally:
        instance.kill()


def test_who_stops_waiting_for_it_does_not_disturb_the_next(tmp_path: Path) -> None:
    async def run() -> None:
        async with _started(tmp_path) as instance:
            first, second = (asyncio.create_task(instance.invoke(event, seconds=5)) for event in (b"0.2", b"9"))
            await asyncio.sleep(0.1)
            second.cancel()
            assert await first == b"0.2"
            assert await instance.invoke(b"0", seconds=5) == b"0"

    asyncio.run(run())


def test_it_is_ended_at_its_deadline(tmp_path: Path) -> None:
    async def run() -> None:
        async with _started(tmp_path) as instance:
            with pytest.raises(DeadlineError):
                await instance.invoke(b"9", seconds=0.1)
            assert not instance.alive

    asyncio.run(run())
