"""Test the promises with killed receivers, failing AWS services, concurrent copies and broken receivers."""

import argparse
import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from evidence import markdown, results
from evidence.chaos import concurrent_copies, experiment, mutants, tables
from tests.support.lambda_runtime import declared
from tests.support.paths import ARTIFACT


class Scale(NamedTuple):
    deliveries: int
    bursts: int
    processes: int
    trials: int


SEED = 2  # With this seed, Lambda's timeout ends a process in the small run too.
SMALL = Scale(deliveries=800, bursts=8, processes=12, trials=300)
FULL = Scale(deliveries=100_000, bursts=48, processes=20, trials=10_000)


def main() -> None:
    for ending in (signal.SIGINT, signal.SIGTERM):  # A shell starts a background job with SIGINT ignored.
        signal.signal(ending, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="make chaos ARGS=", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=SEED, help="seed of the deliveries, faults and kills (default: %(default)s)"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help=f"{FULL.deliveries:,} deliveries and {FULL.trials:,} trials with copies, in half an hour "
        f"(default: {SMALL.deliveries:,} and {SMALL.trials:,})",
    )
    parser.add_argument("--write", action="store_true", help="replace the results")
    options = parser.parse_args()
    if not ARTIFACT.exists():
        sys.exit(f"{ARTIFACT} does not exist. Run make build")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # It would print each request.
    # A pause of the garbage collector would look like a slow AWS service. The objects here have hardly any cycles.
    gc.disable()
    try:
        found = asyncio.run(_run(options.seed, FULL if options.full else SMALL))
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    if options.write:
        results.write("chaos", found)
    console = Console(width=120)
    for title, rows in tables.tables(found).values():
        table = Table(title, "", box=None)
        for label, value in rows:
            table.add_row(label, markdown.cell(value))
        console.print(table, "")
    if failures := tables.failures(found):
        sys.exit(f"Broken: {', '.join(failures)}. Repeat with the same seed: --seed {options.seed}")


async def _run(seed: int, scale: Scale) -> dict[str, Any]:
    function = declared()
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:

        def part(name: str, total: int) -> Callable[[], None]:
            task = progress.add_task(name, total=total)
            return lambda: progress.advance(task)

        plan = experiment.Plan(seed, scale.deliveries, scale.bursts, scale.processes)
        settled = part("deliveries", scale.deliveries)
        done = await experiment.run(plan, artifact=ARTIFACT, function=function, settled=settled, report=_report)
        advance = part("concurrent copies", scale.trials)
        answers, wrong = await concurrent_copies.run(
            seed, scale.trials, artifact=ARTIFACT, function=function, done=advance, report=_report
        )
        advance = part("mutants", len(mutants.MUTANTS))
        detections = await mutants.run(seed, artifact=ARTIFACT, function=function, done=advance)
    seconds = time.monotonic() - began
    return tables.collect(plan, done, answers, wrong, detections, command=_command(), seconds=seconds)


def _command() -> str:
    arguments = " ".join(sys.argv[1:])
    return f'make chaos ARGS="{arguments}"' if arguments else "make chaos"


def _report(violation: str) -> None:
    print(violation, file=sys.stderr)


if __name__ == "__main__":
    main()
