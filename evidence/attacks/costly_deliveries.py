"""Send deliveries that cost time or memory, each to a new instance, and a flood of forgeries.

Exits with 1 if an answer is wrong, takes over 5 s or uses all memory of a function with the default size, or if the
flood causes too many calls to AWS.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from rich.progress import track

from evidence import results
from evidence.attacks.costs import ATTACKS, FORGERIES, MINUTES, Cost
from evidence.fuzz.environment import ENVIRONMENT
from receiver.signing_keys import MAX_AGE, MAX_REFRESHES, REFRESH_PERIOD
from tests.support.paths import ROOT
from tests.support.templates import receiver_memory

BUDGET = 5  # seconds for an answer
MEMORY = receiver_memory()  # MB
CPU_SHARE = MEMORY / 1769  # https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
# The cache reads AWSCURRENT. A refresh reads AWSCURRENT, AWSPENDING and AWSPREVIOUS.
MAX_CALLS = MINUTES * 60 / MAX_AGE + 3 * MAX_REFRESHES * MINUTES * 60 / REFRESH_PERIOD


def answered_after(spent: Cost) -> float:
    """Return the seconds that a function with the default memory size needs."""
    return spent.seconds / CPU_SHARE


def faults(costs: Mapping[str, Cost], calls: Mapping[str, int]) -> list[str]:
    """Return what is wrong."""
    found = []
    for name, spent in costs.items():
        if spent.status != ATTACKS[name].status:
            found.append(f"{name}: answered {spent.status} instead of {ATTACKS[name].status}")
        if answered_after(spent) > BUDGET:
            found.append(f"{name}: answered after {answered_after(spent):.1f} s")
        if spent.megabytes > MEMORY:
            found.append(f"{name}: {spent.megabytes} MB")
    if calls.keys() - {"GetSecretValue"} or sum(calls.values()) > MAX_CALLS:
        found.append(f"flood: {dict(calls)}")
    return found


def in_new_process(call: str) -> Any:
    """Call a function of evidence.attacks.costs in a new process and return its result."""
    code = f"import json; from evidence.attacks import costs; print(json.dumps(costs.{call}))"
    output = subprocess.check_output(  # noqa: S603  # the code is ours
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        process_group=0,  # so that it does not receive Ctrl-C
    )
    return json.loads(output)


def main() -> None:
    parser = argparse.ArgumentParser("python -m evidence.attacks.costly_deliveries", description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace the results")
    arguments = parser.parse_args()
    try:
        costs = {name: Cost(*in_new_process(f"cost({name!r})")) for name in track(ATTACKS, "Attacking")}
        calls: dict[str, int] = in_new_process("flood()")
    except KeyboardInterrupt:
        sys.exit(130)
    for name, spent in costs.items():
        print(f"{name:40} {spent.status} {spent.seconds:7.3f} s {spent.megabytes:7.1f} MB")
    print(f"{FORGERIES:,} forgeries in {MINUTES} minutes: {calls}")
    if arguments.write:
        origin = results.origin(
            "python -m evidence.attacks.costly_deliveries --write", ("boto3", "pydantic", "pydantic-core")
        )
        found = {
            "attacks": {
                name: {**spent._asdict(), "answered_after": round(answered_after(spent), 2)}
                for name, spent in costs.items()
            },
            "flood": {"forgeries": FORGERIES, "minutes": MINUTES, "calls": calls},
        }
        results.write("attacks", origin | found)
    if wrong := faults(costs, calls):
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
