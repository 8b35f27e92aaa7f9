"""Cold starts: from a new process to its first 200, and what the CPU time goes to.

Each start is a fresh process with nothing on its path but the build and Lambda's own runtime client. AWS answers over
TLS, as the real one does. What Lambda does before there is a process, fetching and unpacking the zip, is not in it.
"""

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from benchmarks.rig import PYTHON, Contender, Endpoints, Rig, delivery, run
from proof.runtime import Instance

type Advance = Callable[[], None]
"""Moves a progress display on."""


class Start(NamedTuple):
    """Seconds since the process began."""

    init: float  # of CPU, until it asks for its first event
    cpu: float  # until it has answered it
    wall: float  # likewise


async def start(contender: Contender, environment: Mapping[str, str]) -> Start:
    """Start a process, let it answer one delivery, and end it."""
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
    contenders: Sequence[Contender], rig: Rig, endpoints: Endpoints, *, rounds: int, advance: Advance
) -> dict[str, list[Start]]:
    """A round starts each once, in random order. One before the first brings the files into memory."""
    result: dict[str, list[Start]] = {contender.name: [] for contender in contenders}
    for number in range(rounds + 1):
        for contender in random.sample(contenders, len(contenders)):
            measured = await start(contender, rig.environment(contender, **endpoints.tls))
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


async def phases(contender: Contender, rig: Rig, endpoints: Endpoints) -> list[float]:
    """CPU seconds of init, for each of PHASES."""
    output, _ = await run(contender, rig.environment(contender, **endpoints.tls), PYTHON, "-S", "-c", _INIT)
    measured: list[float] = json.loads(output)
    return measured


async def import_times(contender: Contender, rig: Rig, endpoints: Endpoints) -> str:
    """What `-X importtime` says of a contender's init."""
    code = f"import awslambdaric.bootstrap, {contender.handler.rpartition('.')[0]}"
    environment = rig.environment(contender, **endpoints.tls)
    _, log = await run(contender, environment, PYTHON, "-S", "-X", "importtime", "-c", code)
    return log
