import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.support import lambda_runtime as runtime
from tests.support.lambda_runtime import DeadlineError, Function, Instance

HANDLER = "import time\ndef handler(seconds, context): time.sleep(seconds); return seconds\n"


@asynccontextmanager
async def _started(folder: Path) -> AsyncIterator[Instance]:
    (folder / "app.py").write_text(HANDLER)
    function = Function("app.handler", memory=128, environment={})
    packages = runtime.client(folder / "client")
    instance = await Instance.start([folder], runtime.environment(function, endpoint="", packages=packages))
    try:
        yield instance
    finally:
        instance.kill()


def test_canceled_invocation_does_not_affect_the_next(tmp_path: Path) -> None:
    async def run() -> None:
        async with _started(tmp_path) as instance:
            first, second = (asyncio.create_task(instance.invoke(event, seconds=5)) for event in (b"0.2", b"9"))
            await asyncio.sleep(0.1)
            second.cancel()
            assert await first == b"0.2"
            assert await instance.invoke(b"0", seconds=5) == b"0"

    asyncio.run(run())


def test_process_is_killed_at_its_deadline(tmp_path: Path) -> None:
    async def run() -> None:
        async with _started(tmp_path) as instance:
            with pytest.raises(DeadlineError):
                await instance.invoke(b"9", seconds=0.1)
            assert not instance.alive

    asyncio.run(run())
