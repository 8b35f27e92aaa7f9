"""Run every target under libFuzzer for a while, from the corpus on; or the corpus once through all of them.

Exits with 1 on a finding, and says which input makes it.
"""

import argparse
import importlib
import importlib.util
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

from proof import ROOT, figures
from proof.fuzz.deliveries import CORPUS, samples

TARGETS = ("verify", "unwrap", "handler")

# -timeout in seconds and -rss_limit_mb are the receiver's own: its answer's and its memory. All of the corpus is kept,
# since the parser is native and gives no coverage that would tell one body from another.
_OPTIONS = ("-timeout=5", "-rss_limit_mb=512", "-max_len=16384", "-keep_seed=1", "-print_final_stats=1")
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
        sys.exit("Fuzzing needs atheris, which there is for Linux on x86_64 only. --replay works everywhere.")
    try:
        runs = fuzz(arguments.targets, arguments.seconds, arguments.executions, arguments.seed)
    except KeyboardInterrupt:
        sys.exit(130)
    if arguments.write:
        targets = {target: asdict(run) for target, run in runs.items()}
        packages = ("atheris", "boto3", "pydantic", "pydantic-core")
        figures.write("fuzz", "proof.fuzz", packages, {"seed": arguments.seed, "targets": targets})
    sys.exit(any(run.findings for run in runs.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m proof.fuzz", description=__doc__)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=TARGETS, help="all, unless named")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together; %(default)s unless given")
    parser.add_argument("--executions", type=int, default=-1, help="after which a target is done, if sooner")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="to repeat a run; random")
    parser.add_argument("--write", action="store_true", help="keep the figures, in proof/results and docs/attacks.md")
    parser.add_argument("--replay", nargs="*", type=Path, metavar="FILE", help="these inputs once; or the corpus")
    return parser.parse_args()


def replay(targets: Iterable[str], inputs: Iterable[Path]) -> int:
    """Put each input, and each delivery in events/, through the targets. Returns 1 on a finding."""
    deliveries = [*((path.name, path.read_bytes()) for path in inputs), *samples()]
    found = 0
    for target in targets:
        execute = importlib.import_module(f"proof.fuzz.{target}").execute
        for name, data in deliveries:
            try:
                execute(data)
            except Exception:  # noqa: BLE001  # whatever it is, it is a finding
                found += 1
                print(f"{target}, {name}:\n{traceback.format_exc()}", file=sys.stderr)
        print(f"{target}: {len(deliveries)} deliveries")
    return int(found > 0)


def fuzz(targets: Iterable[str], seconds: int, executions: int, seed: int) -> dict[str, Run]:
    targets = list(targets)
    folder = Path(tempfile.mkdtemp(prefix="openai-webhooks-fuzz-"))
    seeds = folder / "events"
    seeds.mkdir()
    for name, data in samples():
        (seeds / name).write_bytes(data)
    each = max(1, seconds // len(targets))  # to libFuzzer, 0 is for ever
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
    work = folder / target  # where libFuzzer puts what it has found new
    work.mkdir()
    command = [sys.executable, "-m", "proof.fuzz.engine", target, *options, f"-artifact_prefix={folder}/{target}-"]
    run, last = Run(), deque[str](maxlen=40)
    with subprocess.Popen(  # noqa: S603  # the command is its own
        [*command, work, folder / "events", CORPUS],
        cwd=ROOT,
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
                    task, completed=run.seconds, done=f"{run.executions:,} executions, {run.per_second:,} a second"
                )
    if process.returncode:
        run.findings = 1
        progress.console.print("".join(last), markup=False, highlight=False)
        for path in _INPUT.findall("".join(last)):
            progress.console.print(f"Repeat it: python -m proof.fuzz --replay {path}", soft_wrap=True)
    return run


if __name__ == "__main__":
    main()
