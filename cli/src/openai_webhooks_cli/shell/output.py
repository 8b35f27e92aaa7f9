"""What a command prints: data on stdout, everything else on stderr."""

import json
import sys
import unicodedata
from contextlib import nullcontext
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that a terminal may act on, or that are not text: controls, directions, lone surrogates."""


class Output:
    """Prints for people, or with `as_json` for programs. Texts are printed as they are, without markup."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._stdout = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
        self.stderr = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)

    @property
    def is_terminal(self) -> bool:
        """Whether a person sees stdout."""
        return self._stdout.is_terminal and not self.as_json

    def line(self, text: "str | Text", style: str | None = None) -> None:
        """Print a line of the result for people. With `as_json`, print nothing."""
        if not self.as_json:
            self._stdout.print(text, style=style)

    def record(self, **fields: Any) -> None:
        """Print a line of the result for programs. Without `as_json`, print nothing."""
        if self.as_json:
            # ASCII only, so that no reader meets a lone surrogate.
            sys.stdout.write(json.dumps(fields, separators=(",", ":"), default=str) + "\n")
            sys.stdout.flush()

    def note(self, text: "str | Text", style: str | None = None) -> None:
        """Tell a person something that is not the result."""
        self.stderr.print(text, style=style)

    def warning(self, text: str) -> None:
        self.note(text, "yellow")

    def error(self, text: str) -> None:
        self.note(text, "red")

    def progress(self, step: str) -> Any:
        """Return a context manager that shows a step which may take longer than two seconds."""
        if self.stderr.is_terminal:
            return self.stderr.status(Text(step))
        self.note(step)
        return nullcontext()

    def confirm(self, question: str, *, yes: bool) -> bool:
        """Ask a question. Raises CannotRun if there is nobody to ask."""
        from openai_webhooks_cli.shell.errors import CannotRun  # noqa: PLC0415  # failures imports this module

        if yes:
            return True
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise CannotRun(f"{question} Pass --yes to confirm, because there is no terminal to ask on.")
        return typer.confirm(question, err=True)


def printable(text: str, limit: int = 300) -> str:
    """Return text from outside in a form that no terminal acts on, with at most `limit` characters."""
    clean = "".join("\N{REPLACEMENT CHARACTER}" if _is_hidden(character) else character for character in text[:limit])
    return clean + ("…" if len(text) > limit else "")


def _is_hidden(character: str) -> bool:
    if character.isascii():
        return not character.isprintable()
    return unicodedata.category(character) in _HIDDEN
