"""Count the instructions of a delivery with valgrind. The count hardly varies, unlike times.

The kernel's instructions are not included. `perf stat -e instructions:u` counts the same, but virtual machines seldom
have this counter.
"""

import asyncio
import re
from pathlib import Path

from evidence.benchmarks.testbed import PYTHON, Contender, Endpoints, Testbed, delivery, run

FEW, MANY = 10, 60
_REFERENCES = re.compile(r"I +refs: +([0-9,]+)")

HANDLE = """
import importlib, json, os, sys
from types import SimpleNamespace
module, _, name = os.environ["_HANDLER"].rpartition(".")
handler = getattr(importlib.import_module(module), name)
context = SimpleNamespace(
    function_name="f", memory_limit_in_mb=512, aws_request_id="1",
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:f",
    get_remaining_time_in_millis=lambda: 10_000,
)
statuses = {handler(json.loads(event), context)["statusCode"] for event in open(sys.argv[1])}
sys.exit(0 if statuses == {int(sys.argv[2])} else f"answered {statuses}")
"""


async def per_delivery(
    contender: Contender, kind: str, status: int, testbed: Testbed, endpoints: Endpoints, folder: Path
) -> float:
    """Return the instructions per delivery: the difference between MANY and FEW deliveries, divided."""
    few, many = await asyncio.gather(
        *(_count(contender, kind, status, count, testbed, endpoints, folder) for count in (FEW, MANY))
    )
    return (many - few) / (MANY - FEW)


async def _count(
    contender: Contender, kind: str, status: int, count: int, testbed: Testbed, endpoints: Endpoints, folder: Path
) -> int:
    events = folder / f"{contender.name}-{kind}-{count}"
    events.write_bytes(b"\n".join(delivery(kind) for _ in range(count)))
    _, log = await run(
        contender,
        testbed.environment(contender, **endpoints.plain, PYTHONHASHSEED="0"),
        *("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"),
        *(PYTHON, "-S", "-c", HANDLE, str(events), str(status)),
    )
    (counted,) = _REFERENCES.findall(log)
    return int(counted.replace(",", ""))
