"""The receiver beside what else one would deploy, in one run on one machine: `make bench`.

A round measures each contender once, in random order, and contenders are compared within a round only, since whatever
else the machine does slows all of them. benchmarks/contenders holds the others; docs/performance.md says what is found.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import signal
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.progress import Progress

from benchmarks import cold, growth, instructions, performance, picture, warm
from benchmarks.builds import Build, builds
from benchmarks.judged import JUDGED, Judged, Scale, Steps, judged
from benchmarks.report import publish, results, show
from benchmarks.rig import Contender, Endpoints, Rig, rate, standing
from benchmarks.targets import misses, ratios
from proof.runtime import ARTEFACT

FULL = Scale(starts=11, batches=21, batch=25, verifications=100)
QUICK = Scale(starts=7, batches=15, batch=12, verifications=30)
ATTEMPTS = 3
"""Of a quick run: what the machine did at one time it doesn't do every time, but what the code does it does."""

ONCE = ("ours", "floor", "openai", "standardwebhooks")
"""Those that publish a delivery once. All but ours can do without."""
IMPORT_TIMES = results("performance").with_name("importtime.txt")


def by_form(build: Build) -> list[Contender]:
    """A contender as `sam build` leaves it, and as `make build` does."""
    return [
        Contender(f"{build.name}, {form}", path, build.handler, deduplicates=build.name in ONCE)
        for form, path in (("sam build", build.plain), ("make build", build.made))
        if path
    ]


async def compare(folder: Path, progress: Progress, *, quick: bool) -> tuple[Judged, dict[str, Any]]:
    """Build everything, and measure what the targets are about, or all there is."""
    steps = _steps(progress)
    advance = steps("builds", 1)
    ready = await asyncio.to_thread(lambda: list(builds(folder / "builds", judged=quick)))
    built = {build.name: build for build in ready}
    advance()
    once = [Contender(name, built[name].made, built[name].handler) for name in ONCE if name in built]
    if quick:
        starting = [form for build in built.values() for form in by_form(build) if form.name in JUDGED]
        delivering = once
    else:
        starting = [form for build in built.values() for form in by_form(build)]
        delivering = once + [
            Contender(f"{name}, no table", build.made, build.handler, deduplicates=False)
            for name, build in built.items()
            if name != "ours"
        ]
    async with standing(folder) as (rig, endpoints):
        found = await judged(starting, delivering, rig, endpoints, scale=QUICK if quick else FULL, steps=steps)
        figures = found.figures() | {"calls_per_second": await rate(endpoints)}
        if not quick:
            figures |= await beside(built, once, folder, rig, endpoints, steps)
    return found, figures


async def beside(
    built: Mapping[str, Build], once: list[Contender], folder: Path, rig: Rig, endpoints: Endpoints, steps: Steps
) -> dict[str, Any]:
    """What explains the ratios, and what they don't show."""
    made = {name: by_form(build)[-1] for name, build in built.items()}
    repetitions = 7
    advance = steps("where a cold start goes", repetitions * len(made))
    phases: dict[str, list[list[float]]] = {name: [] for name in made}
    for _ in range(repetitions):
        for name, contender in made.items():
            phases[name].append(await cold.phases(contender, rig, endpoints))
            advance()
    IMPORT_TIMES.write_text(await cold.import_times(made["ours"], rig, endpoints))
    rounds = 60
    advance = steps("deliveries after pauses", rounds)
    paused = await warm.after_pauses(once, rig, endpoints, rounds=rounds, advance=advance)
    most = 4
    advance = steps("processes side by side", most * len(once))
    processes: dict[str, dict[str, Any]] = {contender.name: {} for contender in once}
    for count in range(1, most + 1):
        for contender in once:
            delivered, per_second = await warm.side_by_side(contender, rig, endpoints, processes=count, size=150)
            processes[contender.name][str(count)] = warm.percentiles(delivered) | {"per_second": per_second}
            advance()
    advance = steps("growth", 4)
    curves = await growth.curves(once[0], rig, endpoints, deliveries=40, advance=advance)
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
        "growth_us": {what: growth.figures(curve) for what, curve in curves.items()},
        "instructions": await _instructions(once, folder, rig, endpoints, steps),
    }


async def _instructions(
    once: list[Contender], folder: Path, rig: Rig, endpoints: Endpoints, steps: Steps
) -> dict[str, float] | None:
    if not shutil.which("valgrind"):
        return None
    counted = [(contender, "accepted", 200) for contender in once] + [(once[0], "forged", 401)]
    advance = steps("instructions", len(counted))
    result = {}
    for contender, kind, status in counted:
        count = await instructions.per_delivery(contender, kind, status, rig, endpoints, folder)
        result[f"{contender.name}, {kind}"] = count
        advance()
    return result


def _steps(progress: Progress) -> Steps:
    def steps(what: str, total: int) -> cold.Advance:
        task = progress.add_task(what, total=total)
        return lambda: progress.advance(task)

    return steps


def _origin() -> dict[str, Any]:
    packages = ("aws-lambda-powertools", "boto3", "openai", "pydantic", "standardwebhooks")
    return {
        "command": "make bench",
        "processors": os.cpu_count(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def _write(figures: performance.Figures) -> None:
    publish("performance", figures, list(performance.tables(figures)))
    picture.draw(figures)
    show("docs/scale.md and docs/cost.md count with it: python -m benchmarks.scale, python -m benchmarks.cost")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="make bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="only what the targets need, in a minute, again while one is missed, three times at most; writes nothing",
    )
    parser.add_argument("--write", action="store_true", help="write docs/performance.md anew from the last run's file")
    options = parser.parse_args()
    if options.write:
        _write(json.loads(results("performance").read_text()))
        return
    if not ARTEFACT.exists():
        sys.exit(f"There is nothing in {ARTEFACT}: run `make build`")
    for _ in range(ATTEMPTS if options.quick else 1):
        with TemporaryDirectory() as folder, Progress(console=Console(stderr=True)) as progress:
            found, figures = asyncio.run(compare(Path(folder), progress, quick=options.quick))
        if options.quick:
            show(performance.targets(figures))
        else:
            _write(_origin() | figures)
        if not (missed := misses(found.ratios())):
            return
    sys.exit("\n".join(missed))


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell starts a background job with SIGINT ignored
        signal.signal(ending, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped.")
