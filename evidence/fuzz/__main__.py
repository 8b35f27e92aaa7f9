"""Fuzz `verify`, `unwrap` and the handler, or replay inputs. Exit with 1 on a finding, and name its input."""

import argparse
import importlib
import importlib.util
import os
import re
import secrets
import subprocess
import sys
import tempfile
import traceback
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from evidence import results
from evidence.fuzz.deliveries import CORPUS, samples
from evidence.fuzz.environment import ENVIRONMENT
from tests.support.paths import ROOT
from tests.support.templates import receiver_memory

TARGETS = ("verify", "unwrap", "handler")

_OPTIONS = (
    # The receiver's own limits: the seconds to an answer, and its memory.
    *("-timeout=5", f"-rss_limit_mb={receiver_memory()}"),
    # Keep all of the corpus. The parser is native code without coverage, so libFuzzer cannot distinguish two bodies.
    "-keep_seed=1",
    *("-max_len=16384", "-print_final_stats=1"),
)
_PROGRESS = re.compile(r"#(\d+)\s")
_TOTAL = re.compile(r"stat::number_of_executed_units: (\d+)")
_INPUT = re.compile(r"Test unit written to (.+)")


@dataclass
class Run:
    executions: int = 0
    seconds: float = 0
    per_second: int = 0
    findings: int = 0


def main() -> None:
    arguments = _arguments()
    if arguments.replay is not None:
        sys.exit(replay(arguments.targets, arguments.replay or sorted(CORPUS.iterdir())))
    if not importlib.util.find_spec("atheris"):
        sys.exit("Fuzzing needs atheris, which exists for Linux on x86_64 only. --replay works on every platform.")
    try:
        runs = fuzz(arguments.targets, arguments.seconds, arguments.executions, arguments.seed)
    except KeyboardInterrupt:
        sys.exit(130)
    if arguments.write:
        targets = {target: asdict(run) for target, run in runs.items()}
        origin = results.origin(
            " ".join(["python -m evidence.fuzz", *sys.argv[1:]]), ("atheris", "boto3", "pydantic", "pydantic-core")
        )
        results.write("fuzz", origin | {"seed": arguments.seed, "targets": targets})
    sys.exit(any(run.findings for run in runs.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("make fuzz ARGS=", description=__doc__)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS, help="targets (default: all)")
    parser.add_argument("--seconds", type=int, default=60, help="time for all targets together (default: %(default)s)")
    parser.add_argument("--executions", type=int, default=-1, help="limit of executions for each target")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="seed of the run (default: random)")
    parser.add_argument("--write", action="store_true", help="replace the results")
    parser.add_argument(
        "--replay", nargs="*", type=Path, metavar="FILE", help="run these inputs, or else the corpus, once"
    )
    return parser.parse_args()


def replay(targets: Iterable[str], inputs: Iterable[Path]) -> int:
    """Run each input and each delivery in events/ through the targets. Return 1 on a finding."""
    deliveries = [*((path.name, path.read_bytes()) for path in inputs), *samples()]
    found = 0
    for target in targets:
        execute = importlib.import_module(f"evidence.fuzz.{target}").execute
        for name, data in deliveries:
            try:
                execute(data)
            except Exception:  # noqa: BLE001  # every exception is a finding
                found += 1
                print(f"{target}, {name}:\n{traceback.format_exc()}", file=sys.stderr)
        print(f"{target}: {len(deliveries)} deliveries")
    return int(found > 0)


def fuzz(targets: Iterable[str], seconds: int, executions: int, seed: int) -> dict[str, Run]:
    """Fuzz each target and return its run. `seconds` are for all targets together."""
    targets = list(targets)
    folder = Path(tempfile.mkdtemp(prefix="openai-webhooks-fuzz-"))
    seeds = folder / "events"
    seeds.mkdir()
    for name, data in samples():
        (seeds / name).write_bytes(data)
    each = max(1, seconds // len(targets))  # For libFuzzer, 0 means no limit.
    limits = [f"-max_total_time={each}", f"-runs={executions}", f"-seed={seed % 2**32 or 1}"]
    print(f"Seed {seed}")
    columns = (TextColumn("{task.description:8}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[done]}"))
    runs = {}
    with Progress(*columns) as progress:
        for target in targets:
            task = progress.add_task(target, total=each, done="")
            runs[target] = _run(target, [*_OPTIONS, *limits], folder, progress, task)
            progress.stop_task(task)
    return runs


def _run(target: str, options: Iterable[str], folder: Path, progress: Progress, task: TaskID) -> Run:
    work = folder / target  # libFuzzer stores new inputs here.
    work.mkdir()
    command = [sys.executable, "-m", "evidence.fuzz.engine", target, *options, f"-artifact_prefix={folder}/{target}-"]
    run, last = Run(), deque[str](maxlen=40)
    with subprocess.Popen(  # noqa: S603  # the command is ours
        [*command, work, folder / "events", CORPUS],
        cwd=ROOT,
        env={**os.environ, **ENVIRONMENT},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        for line in process.stdout or ():
            last.append(line)
            if match := _PROGRESS.match(line) or _TOTAL.match(line):
                run.executions = int(match[1])
                run.seconds = round(progress.tasks[task].elapsed or 0, 1)
                run.per_second = round(run.executions / (run.seconds or 1))
                progress.update(
                    task, completed=run.seconds, done=f"{run.executions:,} executions, {run.per_second:,} per second"
                )
    if process.returncode:
        run.findings = 1
        progress.console.print("".join(last), markup=False, highlight=False)
        for path in _INPUT.findall("".join(last)):
            progress.console.print(f'Repeat it: make fuzz ARGS="--replay {path}"', soft_wrap=True)
    return run


if __name__ == "__main__":
    main()
