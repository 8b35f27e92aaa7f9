"""Promise 6: everything that a process of the function writes, under Lambda's own runtime client."""

import asyncio
import json
import re
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import time_machine

from tests.support.canaries import CANARY_BODY, leaks
from tests.support.lambda_runtime import Instance, InvocationError
from tests.support.moto_stack import MotoStack
from tests.support.paths import ROOT
from tests.support.receiver_instance import OTHER_SECRET, Clock, ReceiverInstance

VERBOSE: Final = {
    "AWS_LAMBDA_LOG_FORMAT": "JSON",  # without it, the runtime ignores the level
    "AWS_LAMBDA_LOG_LEVEL": "DEBUG",
    "POWERTOOLS_DEBUG": "true",
    "POWERTOOLS_DEV": "true",
    "POWERTOOLS_LOGGER_LOG_EVENT": "true",
    "POWERTOOLS_LOGGER_SAMPLE_RATE": "1",
    "POWERTOOLS_LOG_LEVEL": "DEBUG",
}
"""Every setting that makes the function write more."""


@pytest.fixture
def real_clock() -> Iterator[Clock]:
    """The time at which the test starts, because the process has a clock of its own."""
    now = time.time()
    with time_machine.travel(now) as traveller:
        yield Clock(traveller, now)


def test_nothing_leaks_with_every_setting_on(stack: MotoStack, real_clock: Clock, tmp_path: Path) -> None:
    pytest.importorskip("awslambdaric", reason="the runtime client needs Linux")
    sender = ReceiverInstance(stack, real_clock, stack.settings)
    genuine = sender.delivery(CANARY_BODY)
    requests = [
        genuine,
        genuine,
        sender.delivery(CANARY_BODY.replace(b'"id"', b'"canary-7d1f"'), webhook_id="wh_drift"),
        sender.delivery(CANARY_BODY[1:]),
        sender.delivery(CANARY_BODY, secret=OTHER_SECRET),
        genuine | {"headers": [*genuine["headers"].values()]},  # API Gateway never sends a list
    ]
    log = tmp_path / "log"
    *answers, error = asyncio.run(invoke(requests, stack.environment | VERBOSE, log))

    assert [json.loads(answer)["statusCode"] for answer in answers] == [200, 200, 200, 400, 401]
    assert json.loads(error)["errorType"] == "AttributeError"
    written = log.read_text()
    # In the JSON format, the runtime client leaves the lines of the deliveries as they are.
    lines = [json.loads(line) for line in written.splitlines() if line.startswith('{"_aws"')]
    outcomes = ["Published", "Duplicate", "Published", "Malformed", "SignatureMismatch"]
    assert [line["outcome"] for line in lines] == outcomes
    for logger in ("aws_lambda_powertools.utilities.idempotency", "urllib3.connectionpool"):
        assert re.search(rf'"level": "DEBUG".*"logger": "{logger}', written)
    assert [leaks(written + "".join([*answers, error]), request) for request in requests[:-1]] == [[]] * 5


async def invoke(requests: list[dict[str, Any]], environment: dict[str, str], log: Path) -> list[str]:
    """Return the answer or the error of a process to each request. Everything that it writes goes to `log`."""
    runtime = {"_HANDLER": "receiver.app.handler", "PYTHONPATH": sysconfig.get_path("purelib")}
    with log.open("wb") as output:
        stream = output.fileno()
        instance = await Instance.start([ROOT / "src"], environment | runtime, stdout=stream, stderr=stream)
        try:
            return [await answer(instance, request) for request in requests]
        finally:
            instance.kill()


async def answer(instance: Instance, request: dict[str, Any]) -> str:
    try:
        return (await instance.invoke(json.dumps(request).encode(), seconds=10)).decode()
    except InvocationError as error:
        return str(error)
