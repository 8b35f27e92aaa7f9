"""The results of `make chaos`, as tables for the terminal and for evidence/reports/reliability.md."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from evidence import markdown, results
from evidence.chaos.checks import EXPLANATIONS, VIOLATIONS
from evidence.chaos.experiment import Experiment, Plan
from evidence.chaos.mutants import MUTANTS, Detection

type Results = Mapping[str, Any]
type Rows = Sequence[tuple[str, int | str]]


def collect(
    plan: Plan,
    experiment: Experiment,
    answers: Counter[str],
    wrong: int,
    detections: Sequence[Detection],
    *,
    command: str,
    seconds: float,
) -> dict[str, Any]:
    """Return the results of a run."""
    return {
        **results.origin(command, ("awslambdaric", "aws-lambda-powertools", "boto3", "pydantic")),
        "seed": plan.seed,
        "seconds": round(seconds),
        "deliveries": plan.deliveries,
        "processes": plan.processes,
        "counts": dict(sorted(experiment.counts.items())),
        "longest answer, s": round(experiment.longest, 1),
        "violations": {name: experiment.violations[name] for name in VIOLATIONS},
        "explained": {name: experiment.explained[name] for name in EXPLANATIONS},
        "copies": {"answers": dict(sorted(answers.items())), "wrong": wrong},
        "mutants": {one.mutant: {"by": one.check, "invocations": one.invocations} for one in detections},
    }


def tables(found: Results) -> dict[str, tuple[str, Rows]]:
    """Return a title and rows for each block."""
    counts, copies = found["counts"], found["copies"]
    faults = {name.removeprefix("fault: "): number for name, number in counts.items() if name.startswith("fault: ")}
    return {
        "volume": (
            "What was done",
            [
                ("deliveries from OpenAI", found["deliveries"]),
                ("invocations, including retries, copies and intruders", counts["invocations"]),
                ("calls to AWS", counts["calls"]),
                *((f"calls with the fault: {name}", number) for name, number in faults.items() if number),
                (
                    "processes killed, by us or at Lambda's timeout",
                    counts.get("killed", 0) + counts.get("timed out", 0),
                ),
                ("events on the bus", counts["events on the bus"]),
                ("seconds to the longest answer", found["longest answer, s"]),
            ],
        ),
        "violations": (
            "Violation",
            [(f"{name}: {VIOLATIONS[name]}", number) for name, number in found["violations"].items()],
        ),
        "duplicates": (
            "Events on the bus again, by allowed cause",
            [(EXPLANATIONS[name], number) for name, number in found["explained"].items()],
        ),
        "copies": (
            "Eight copies of a delivery at once",
            [
                *((f"answered with {answer}", number) for answer, number in copies["answers"].items()),
                ("trials that went wrong", copies["wrong"]),
            ],
        ),
        "mutants": (
            "Mutant: a receiver that …",
            [(MUTANTS[name], f"detected by: {of['by']}") for name, of in found["mutants"].items()],
        ),
        "run": (
            "The run",
            [
                ("command", f"`{found['command']}`"),
                ("seed", str(found["seed"])),
                ("processes of the receiver", found["processes"]),
                ("minutes", found["seconds"] // 60),
                *found["versions"].items(),
            ],
        ),
    }


def blocks(found: Results) -> dict[str, str]:
    """Return the tables for documents."""
    return {name: markdown.table([title, ""], rows) for name, (title, rows) in tables(found).items()}


def failures(found: Results) -> list[str]:
    """Return why the run failed, or nothing if it passed."""
    return [
        *(f"{number} {name}" for name, number in found["violations"].items() if number),
        *([f"{found['copies']['wrong']} trials with copies"] if found["copies"]["wrong"] else []),
        *(f"not detected: {MUTANTS[name]}" for name, of in found["mutants"].items() if not of["by"]),
    ]
