"""Measure cold starts: the time from a new process to its first 200, and what the CPU time is spent on.

The process finds only the build and Lambda's own runtime client. The testbed's AWS answers over TLS, like the real AWS.
The time for downloading and unpacking the zip, before the process starts, is not included.
"""

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from evidence.benchmarks.testbed import PYTHON, Contender, Endpoints, Testbed, delivery, run
from tests.support.lambda_runtime import Instance

type Advance = Callable[[], None]
"""Advances a progress bar."""


class Start(NamedTuple):
    """Seconds since the process started."""

    init: float  # CPU time until it asks for its first event
    cpu: float  # CPU time until it has answered the event
    wall: float  # real time until it has answered the event


async def start(contender: Contender, environment: Mapping[str, str]) -> Start:
    """Start a process, let it answer one delivery, and kill it."""
    instance = await Instance.start([contender.path], environment)
    try:
        init = instance.cpu()
        result = json.loads(await instance.invoke(delivery(), seconds=30))
        measured = Start(init, instance.cpu(), time.perf_counter() - instance.began)
    finally:
        instance.kill()
    if result["statusCode"] != 200:
        raise RuntimeError(f"{contender.name}: not a 200: {result}")
    return measured


async def starts(
    contenders: Sequence[Contender], testbed: Testbed, endpoints: Endpoints, *, rounds: int, advance: Advance
) -> dict[str, list[Start]]:
    """Start each contender once per round, in random order. An extra round first reads the files into memory."""
    result: dict[str, list[Start]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in random.sample(contenders, len(contenders)):
            measured = await start(contender, testbed.environment(contender, **endpoints.tls))
            if number > 0:
                result[contender.name].append(measured)
            advance()
    return result


PHASES = ("interpreter", "runtime client", "imports", "AWS clients")

_INIT = """
import time
interpreter = time.process_time()
import awslambdaric.bootstrap
runtime = time.process_time()
import importlib, json, os
spent = 0
try:
    import boto3
except ImportError:
    pass
else:
    make = boto3.client
    def client(*arguments, **options):
        global spent
        began = time.process_time()
        made = make(*arguments, **options)
        spent += time.process_time() - began
        return made
    boto3.client = client
importlib.import_module(os.environ["_HANDLER"].rpartition(".")[0])
print(json.dumps([interpreter, runtime - interpreter, time.process_time() - runtime - spent, spent]))
"""


async def phases(contender: Contender, testbed: Testbed, endpoints: Endpoints) -> list[float]:
    """Return the CPU seconds of initialization, for each of PHASES."""
    output, _ = await run(contender, testbed.environment(contender, **endpoints.tls), PYTHON, "-S", "-c", _INIT)
    measured: list[float] = json.loads(output)
    return measured
