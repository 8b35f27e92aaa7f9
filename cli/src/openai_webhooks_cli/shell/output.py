"""What a command prints: data on stdout, everything else on stderr."""

import json
import sys
from contextlib import nullcontext
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from openai_webhooks_cli.shell.errors import CannotRun


class Output:
    """Prints for people, or with `as_json` for programs. Texts are printed as they are, without markup."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._stdout = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._stderr = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)

    @property
    def is_terminal(self) -> bool:
        """Whether a person sees stdout."""
        return self._stdout.is_terminal and not self.as_json

    def item(self, text: str | Text, style: str | None = None, /, **record: Any) -> None:
        """Print a part of the result: a line for people, or with `as_json` its record for programs."""
        self.line(text, style)
        self.record(**record)

    def line(self, text: str | Text, style: str | None = None) -> None:
        """Print a line of the result that has no record. With `as_json`, print nothing."""
        if not self.as_json:
            self._stdout.print(text, style=style)

    def record(self, **fields: Any) -> None:
        """Print a record of the result that has no line. Without `as_json`, print nothing."""
        if self.as_json:
            # ASCII only, so that no reader meets a lone surrogate.
            sys.stdout.write(json.dumps(fields, separators=(",", ":"), default=str) + "\n")
            sys.stdout.flush()

    def note(self, text: str | Text, style: str | None = None) -> None:
        """Tell a person something that is not the result."""
        self._stderr.print(text, style=style)

    def warning(self, text: str) -> None:
        self.note(text, "yellow")

    def error(self, text: str) -> None:
        self.note(text, "red")

    def progress(self, step: str) -> Any:
        """Return a context manager that shows a step which may take longer than two seconds."""
        if self._stderr.is_terminal:
            return self._stderr.status(Text(step))
        self.note(step)
        return nullcontext()

    def confirm(self, question: str, *, yes: bool) -> bool:
        """Ask a question. Raises CannotRun if there is nobody to ask."""
        if yes:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CannotRun(f"{question} Pass --yes to confirm, because there is no terminal to ask on.")
        return typer.confirm(question, err=True)
