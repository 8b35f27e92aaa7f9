"""What a run has found: tables for the terminal, a file of figures, and docs/reliability.md's, made from that file."""

import json
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final

from proof.chaos import Experiment, Plan
from proof.checks import EXPLANATIONS, VIOLATIONS
from proof.mutants import Caught
from proof.runtime import ROOT

FIGURES: Final = ROOT / "proof/results/chaos.json"
DOCUMENT: Final = ROOT / "docs/reliability.md"
MARKS: Final = ("<!-- figures of proof/results/chaos.json -->\n", "<!-- end of the figures -->\n")

type Figures = Mapping[str, Any]
type Rows = Sequence[tuple[str, str]]


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
            ("deliveries of OpenAI's", _number(of["deliveries"])),
            ("invocations, with redeliveries, copies and intruders", _number(counts["invocations"])),
            ("calls to AWS", _number(counts["calls"])),
            *((f"of them with the fault: {name}", _number(number)) for name, number in faults.items() if number),
            ("processes killed, by Lambda's timeout too", _number(died)),
            ("events on the bus", _number(counts["events on the bus"])),
        ],
        "What must not happen": [
            (f"{name}: {VIOLATIONS[name]}", _number(number)) for name, number in of["violations"].items()
        ],
        "Events on the bus again, each with its reason": [
            (EXPLANATIONS[name], _number(number)) for name, number in of["explained"].items()
        ],
        "Eight copies of a delivery at once": [
            *((f"answered {answer}", _number(number)) for answer, number in copies["answers"].items()),
            ("not published exactly once, or answered otherwise", _number(copies["wrong"])),
        ],
        "A receiver that": [(name, f"is caught: {one['by']}") for name, one in of["mutants"].items()],
    }


def markdown(of: Figures) -> str:
    """The figures as docs/reliability.md has them."""
    versions = ", ".join(f"{name} {number}" for name, number in of["versions"].items())
    lines = [
        f"`{of['command']}`, seed {of['seed']}, {of['processes']} processes, {_number(of['seconds'] // 60)} minutes; "
        f"the longest answer took {of['longest answer, s']} s. {versions}."
    ]
    for title, rows in tables(of).items():
        lines += ["", f"| {title} | |", "| --- | --- |", *(f"| {label} | {value} |" for label, value in rows)]
    return "\n".join(lines) + "\n"


def write(of: Figures) -> None:
    """Write the file and, from it, the document."""
    FIGURES.parent.mkdir(exist_ok=True)
    FIGURES.write_text(json.dumps(of, indent=2) + "\n")
    begin, end = MARKS
    before, _, rest = DOCUMENT.read_text().partition(begin)
    _, _, after = rest.partition(end)
    DOCUMENT.write_text(before + begin + "\n" + markdown(of) + "\n" + end + after)


def faults_found(of: Figures) -> list[str]:
    """Why the run has failed; empty where it hasn't."""
    return [
        *(f"{number} {name}" for name, number in of["violations"].items() if number),
        *([f"{of['copies']['wrong']} of the copies' trials"] if of["copies"]["wrong"] else []),
        *(f"not caught: {name}" for name, one in of["mutants"].items() if not one["by"]),
    ]


def _number(number: float) -> str:
    return f"{number:,}"
