"""The results of the last documented runs: one JSON file for each in evidence/results/."""

import json
import platform
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
WIDTH = 120

type Results = Mapping[str, Any]


def read(name: str) -> Any:
    """Return the results of a run."""
    return json.loads((FOLDER / f"{name}.json").read_text())


def write(name: str, results: Results) -> None:
    """Replace the results of a run, and say how to update the documents."""
    path = FOLDER / f"{name}.json"
    path.write_text(_dumps(results) + "\n")
    print(f"Wrote {path.name}. Update the documents: .venv-evidence/bin/python -m evidence.blocks", file=sys.stderr)


def origin(command: str, packages: Iterable[str]) -> dict[str, Any]:
    """Return what it takes to repeat a run: its command and the versions of Python and `packages`."""
    versions = {"python": platform.python_version()} | {package: version(package) for package in packages}
    return {"command": command, "versions": versions}


def rounded(value: Any) -> Any:
    """Return the value with all its floats rounded to 4 digits."""
    match value:
        case float():
            return float(f"{value:.4g}")
        case dict():
            return {name: rounded(of) for name, of in value.items()}
        case list() | tuple():
            return [rounded(of) for of in value]
    return value


def _dumps(value: Any, *, indent: int = 0, used: int = 0) -> str:
    """Return JSON with filled lines: short, and readable in a diff."""
    line = json.dumps(value, ensure_ascii=False)
    if used + len(line) < WIDTH or not isinstance(value, dict | list):
        return line
    inner = indent + 2
    if isinstance(value, dict):
        names = {f"{json.dumps(str(name), ensure_ascii=False)}: ": of for name, of in value.items()}
        items = [name + _dumps(of, indent=inner, used=inner + len(name)) for name, of in names.items()]
        begin, end = "{}"
    else:
        items = [_dumps(of, indent=inner, used=inner) for of in value]
        begin, end = "[]"
    lines = items[:1]
    for item in items[1:]:
        if "\n" in lines[-1] + item or inner + len(lines[-1]) + len(item) + 3 > WIDTH:
            lines.append(item)
        else:
            lines[-1] += ", " + item
    separator = ",\n" + " " * inner
    return f"{begin}\n{' ' * inner}{separator.join(lines)}\n{' ' * indent}{end}"
