"""`make chaos`: deliveries to receivers that die before an AWS that fails, copies at the same moment, and mutants."""

import argparse
import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from proof import ROOT, chaos, copies, documents, mutants, report
from proof.runtime import ARTEFACT, declared


class Scale(NamedTuple):
    deliveries: int
    bursts: int
    processes: int
    trials: int


SEED = 2  # with it, Lambda's timeout ends a process in the small run too
SMALL = Scale(deliveries=800, bursts=8, processes=12, trials=300)
FULL = Scale(deliveries=100_000, bursts=48, processes=20, trials=10_000)


def main() -> None:
    """Run it all; end with 1 if anything is not as promised."""
    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell starts a background job with SIGINT ignored
        signal.signal(ending, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="make chaos ARGS=", description=__doc__)
    parser.add_argument(
        "--seed", type=int, default=SEED, help=f"draws the deliveries, faults and kills (default: {SEED})"
    )
    parser.add_argument(
        "--full",
        action="store_true",
        help=f"{FULL.deliveries:,} deliveries and {FULL.trials:,} trials of copies instead of {SMALL.deliveries:,} and "
        f"{SMALL.trials:,}",
    )
    written = " and, from it, ".join(str(path.relative_to(ROOT)) for path in (report.FIGURES, report.DOCUMENT))
    parser.add_argument("--write", action="store_true", help=f"write {written}")
    options = parser.parse_args()
    if not ARTEFACT.exists():
        sys.exit("There is no artefact to try: run `make build`")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would print each request
    # A pause of the collector's would look like a hang of AWS's, and what is kept here has no cycles to speak of.
    gc.disable()
    try:
        figures = asyncio.run(_run(options.seed, FULL if options.full else SMALL, command=_command()))
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    if options.write:
        report.write(figures)
    console = Console(width=120)
    for title, rows in report.tables(figures).items():
        table = Table(title, "", box=None)
        for label, value in rows:
            table.add_row(label, documents.cell(value))
        console.print(table, "")
    if found := report.faults_found(figures):
        sys.exit(f"Not as promised: {', '.join(found)}. The same seed does much the same again: --seed {options.seed}")


def _command() -> str:
    arguments = " ".join(sys.argv[1:])
    return f'make chaos ARGS="{arguments}"' if arguments else "make chaos"


async def _run(seed: int, scale: Scale, *, command: str) -> report.Figures:
    function = declared()
    began = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress:

        def part(name: str, total: int) -> Callable[[], None]:
            task = progress.add_task(name, total=total)
            return lambda: progress.advance(task)

        plan = chaos.Plan(seed, scale.deliveries, scale.bursts, scale.processes)
        settled = part("deliveries", scale.deliveries)
        experiment = await chaos.run(plan, artefact=ARTEFACT, function=function, settled=settled, tell=_tell)
        done = part("copies at once", scale.trials)
        answers, wrong = await copies.run(
            seed, scale.trials, artefact=ARTEFACT, function=function, done=done, tell=_tell
        )
        done = part("mutants", len(mutants.MUTANTS))
        caught = await mutants.run(seed, artefact=ARTEFACT, function=function, done=done)
    return report.figures(
        plan,
        experiment,
        answers,
        wrong,
        caught,
        command=command,
        seconds=time.monotonic() - began,
    )


def _tell(violation: str) -> None:
    print(violation, file=sys.stderr)


if __name__ == "__main__":
    main()
