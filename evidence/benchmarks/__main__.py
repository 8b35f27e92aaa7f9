"""Compare the receiver with other ways to build it, in one run on one machine.

A round measures each contender once, in random order. Contenders are compared within a round only, because other load
on the machine slows all of them down.
"""

import argparse
import asyncio
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.progress import Progress

from evidence import results
from evidence.benchmarks import cold, growth, instructions, picture, tables, target_run, testbed, warm
from evidence.benchmarks.builds import Build, builds
from evidence.benchmarks.target_run import COMPARED, Scale, Steps, TargetRun
from evidence.benchmarks.targets import misses, ratios
from evidence.benchmarks.testbed import Contender, Endpoints, Testbed
from tests.support.paths import ARTIFACT

FULL = Scale(starts=11, batches=21, batch=25, verifications=100)
QUICK = Scale(starts=7, batches=15, batch=12, verifications=30)
ATTEMPTS = 3
"""Attempts of a quick run. A miss that the machine causes disappears, but a miss that the code causes stays."""

ONCE = ("ours", "minimal_boto3", "openai", "standardwebhooks")
"""The contenders that publish a delivery once. All but ours can also run without a table."""


def by_form(build: Build) -> list[Contender]:
    """Return a contender as `sam build` creates it, and as `make build` does."""
    return [
        Contender(f"{build.name}, {form}", path, build.handler, deduplicates=build.name in ONCE)
        for form, path in (("sam build", build.plain), ("make build", build.made))
        if path
    ]


async def compare(folder: Path, progress: Progress, *, quick: bool) -> tuple[TargetRun, dict[str, Any]]:
    """Build and measure the contenders, or with `quick`, only what the targets need."""
    steps = _steps(progress)
    advance = steps("builds", 1)
    ready = await asyncio.to_thread(lambda: list(builds(folder / "builds", targets_only=quick)))
    built = {build.name: build for build in ready}
    advance()
    once = [Contender(name, built[name].made, built[name].handler) for name in ONCE if name in built]
    starting = [form for build in built.values() for form in by_form(build)]
    delivering = list(once)
    if quick:
        starting = [form for form in starting if form.name in COMPARED]
    else:
        delivering += [
            Contender(f"{name}, no table", build.made, build.handler, deduplicates=False)
            for name, build in built.items()
            if name != "ours"
        ]
    async with testbed.running(folder) as (bed, endpoints):
        scale = QUICK if quick else FULL
        run = await target_run.measure(starting, delivering, bed, endpoints, scale=scale, steps=steps)
        found = run.summary() | {"calls_per_second": await testbed.rate(endpoints)}
        if not quick:
            found |= await more(built, once, folder, bed, endpoints, steps)
    return run, found


async def more(
    built: Mapping[str, Build], once: list[Contender], folder: Path, bed: Testbed, endpoints: Endpoints, steps: Steps
) -> dict[str, Any]:
    """Measure what explains the ratios, and what they do not show."""
    made = {name: by_form(build)[-1] for name, build in built.items()}
    repetitions = 7
    advance = steps("phases of a cold start", repetitions * len(made))
    phases: dict[str, list[list[float]]] = {name: [] for name in made}
    for _ in range(repetitions):
        for name, contender in made.items():
            phases[name].append(await cold.phases(contender, bed, endpoints))
            advance()
    rounds = 60
    advance = steps("deliveries after pauses", rounds)
    paused = await warm.after_pauses(once, bed, endpoints, rounds=rounds, advance=advance)
    most = 4
    advance = steps("several processes at once", most * len(once))
    processes: dict[str, dict[str, Any]] = {contender.name: {} for contender in once}
    for count in range(1, most + 1):
        for contender in once:
            delivered, per_second = await warm.side_by_side(contender, bed, endpoints, processes=count, size=150)
            processes[contender.name][str(count)] = warm.percentiles(delivered) | {"per_second": per_second}
            advance()
    advance = steps("growth", 4)
    curves = await growth.curves(once[0], bed, endpoints, deliveries=40, advance=advance)
    return {
        "phases_ms": {
            name: {
                phase: median(seconds) * 1e3 for phase, seconds in zip(cold.PHASES, zip(*of, strict=True), strict=True)
            }
            for name, of in phases.items()
        },
        "after_pauses": {
            name: warm.percentiles(delivered)
            | {"ratio": ratios([one.cpu for one in paused["ours"]], [one.cpu for one in delivered])._asdict()}
            for name, delivered in paused.items()
        },
        "processes": processes,
        "growth_us": {what: growth.summary(curve) for what, curve in curves.items()},
        "instructions": await _instructions(once, folder, bed, endpoints, steps),
    }


async def _instructions(
    once: list[Contender], folder: Path, bed: Testbed, endpoints: Endpoints, steps: Steps
) -> dict[str, float] | None:
    if not shutil.which("valgrind"):
        return None
    counted = [(contender, "accepted", 200) for contender in once] + [(once[0], "forged", 401)]
    advance = steps("instructions", len(counted))
    result = {}
    for contender, kind, status in counted:
        count = await instructions.per_delivery(contender, kind, status, bed, endpoints, folder)
        result[f"{contender.name}, {kind}"] = count
        advance()
    return result


def _steps(progress: Progress) -> Steps:
    def steps(what: str, total: int) -> cold.Advance:
        task = progress.add_task(what, total=total)
        return lambda: progress.advance(task)

    return steps


def _write(found: Mapping[str, Any]) -> None:
    packages = ("aws-lambda-powertools", "boto3", "openai", "pydantic", "standardwebhooks")
    origin = results.origin("make bench", packages) | {"processors": os.cpu_count()}
    results.write("performance", results.rounded(origin | dict(found)))
    picture.draw(results.read("performance"))
    _show("The models use these results: run python -m evidence.models.scale and python -m evidence.models.cost")


def _show(*texts: str) -> None:
    Console(soft_wrap=True).print("\n".join(texts), markup=False, highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make bench ARGS=", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"measure only what the targets need, in a minute, up to {ATTEMPTS} times until they are met",
    )
    parser.add_argument("--write", action="store_true", help="replace the results and the picture")
    options = parser.parse_args()
    quick = options.quick
    if not ARTIFACT.exists():
        sys.exit(f"{ARTIFACT} does not exist. Run make build")
    for _ in range(ATTEMPTS if quick else 1):
        with TemporaryDirectory() as folder, Progress(console=Console(stderr=True)) as progress:
            run, found = asyncio.run(compare(Path(folder), progress, quick=quick))
        if quick:
            _show(tables.targets(found))
        else:
            _show(*tables.blocks(found).values())
            if options.write:
                _write(found)
        if not (missed := misses(run.ratios())):
            return
    sys.exit("\n".join(missed))


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM):  # A shell starts a background job with SIGINT ignored.
        signal.signal(ending, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
