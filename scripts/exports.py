"""The import statement in src/openai_webhooks/__init__.py that exports the event classes. `make generate` writes it.

This module reads the source of events.py and does not import it: a stale import statement would fail before it could be
replaced.
"""

import ast
from pathlib import Path

EVENTS = Path(__file__).resolve().parents[1] / "src/openai_webhooks/events.py"


def event_exports() -> str:
    """Return the import statement for all public names of events.py, and an empty line, as ruff formats it."""
    names: list[str] = []
    for node in ast.parse(EVENTS.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                names.append(name)
    public = sorted((name for name in names if not name.startswith("_")), key=_isort_order)
    lines = [f"    {name} as {name}," for name in public]
    return "\n".join(["from openai_webhooks.events import (", *lines, ")", ""])


def _isort_order(name: str) -> tuple[bool, bool, str]:
    """Sort as ruff does: constants, classes, functions."""
    return not name.isupper(), name.islower(), name
