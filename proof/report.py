"""What a run has found: tables for the terminal, a file of figures, and docs/reliability.md's, made from that file."""

import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from proof import ROOT, documents
from proof.chaos import Experiment, Plan
from proof.checks import EXPLANATIONS, VIOLATIONS
from proof.mutants import Caught

FIGURES: Final = ROOT / "proof/results/chaos.json"
DOCUMENT: Final = ROOT / "docs/reliability.md"

type Figures = Mapping[str, Any]
type Rows = Sequence[tuple[str, int | str]]


def figures(
    plan: Plan,
    experiment: Experiment,
    answers: Counter[str],
    wrong: int,
    caught: Sequence[Caught],
    *,
    command: str,
    seconds: float,
) -> dict[str, Any]:
    """All that the tables are made from."""
    counts = experiment.counts
    return {
        "command": command,
        "seed": plan.seed,
        "seconds": round(seconds),
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("awslambdaric", "aws-lambda-powertools", "boto3", "pydantic")},
        },
        "deliveries": plan.deliveries,
        "processes": plan.processes,
        "counts": dict(sorted(counts.items())),
        "longest answer, s": round(experiment.longest, 1),
        "violations": {name: experiment.violations[name] for name in VIOLATIONS},
        "explained": {name: experiment.explained[name] for name in EXPLANATIONS},
        "copies": {"answers": dict(sorted(answers.items())), "wrong": wrong},
        "mutants": {one.mutant.name: {"by": one.by, "invocations": one.invocations} for one in caught},
    }


def tables(of: Figures) -> dict[str, Rows]:
    """The figures as rows of a label and a number, under a title each."""
    counts, copies = of["counts"], of["copies"]
    faults = {name.removeprefix("fault: "): number for name, number in counts.items() if name.startswith("fault: ")}
    died = counts.get("killed", 0) + counts.get("timed out", 0)
    return {
        "What was done": [
            ("deliveries of OpenAI's", of["deliveries"]),
            ("invocations, with redeliveries, copies and intruders", counts["invocations"]),
            ("calls to AWS", counts["calls"]),
            *((f"of them with the fault: {name}", number) for name, number in faults.items() if number),
            ("processes killed, by Lambda's timeout too", died),
            ("events on the bus", counts["events on the bus"]),
            ("seconds to the longest answer", of["longest answer, s"]),
        ],
        "What must not happen": [(f"{name}: {VIOLATIONS[name]}", number) for name, number in of["violations"].items()],
        "Events on the bus again, each with its reason": [
            (EXPLANATIONS[name], number) for name, number in of["explained"].items()
        ],
        "Eight copies of a delivery at once": [
            *((f"answered {answer}", number) for answer, number in copies["answers"].items()),
            ("not published exactly once, or answered otherwise", copies["wrong"]),
        ],
        "A receiver that": [(name, f"is caught: {one['by']}") for name, one in of["mutants"].items()],
        "The run": [
            ("command", f"`{of['command']}`"),
            ("seed", str(of["seed"])),
            ("processes of the receiver", of["processes"]),
            ("minutes", of["seconds"] // 60),
            *of["versions"].items(),
        ],
    }


def markdown(of: Figures) -> Iterator[str]:
    """The tables as docs/reliability.md has them."""
    for title, rows in tables(of).items():
        yield documents.markdown([title, ""], rows)


def write(of: Figures) -> None:
    """Write the file and, from it, the document."""
    documents.write(FIGURES, DOCUMENT, of, markdown(of))


def faults_found(of: Figures) -> list[str]:
    """Why the run has failed; empty where it hasn't."""
    return [
        *(f"{number} {name}" for name, number in of["violations"].items() if number),
        *([f"{of['copies']['wrong']} of the copies' trials"] if of["copies"]["wrong"] else []),
        *(f"not caught: {name}" for name, one in of["mutants"].items() if not one["by"]),
    ]
