"""The current step of a start that takes some seconds."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str], None]]:
    """Show the current step next to a spinner, or on a line of its own if the output is not a terminal."""
    if not console.is_terminal:
        yield lambda step: console.print(step, highlight=False, markup=False)
        return
    with console.status("") as status:
        yield lambda step: status.update(Text(step))
