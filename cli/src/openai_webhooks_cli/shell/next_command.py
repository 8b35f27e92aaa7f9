"""The commands that messages name. The user can paste each one as it is, and it works with the same stack."""

import os
import shlex
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Final, NamedTuple

from openai_webhooks_cli.shell.printable import printable

DEFAULT_STACK: Final = "openai-webhooks"
STACK_VARIABLE: Final = "OPENAI_WEBHOOKS_STACK"
_PROGRAM: Final = "openai-webhooks"


class Running(NamedTuple):
    """The command that the user runs, and the options with which it selects the stack."""

    name: str = ""
    """Without the program, such as `dead-letters list`."""
    stack: str = DEFAULT_STACK
    profile: str | None = None
    region: str | None = None
    endpoint_url: str | None = None


_running = Running()


def remember(running: Running) -> None:
    """Set what later calls repeat. A process runs one command, so this is as global as `sys.argv`."""
    global _running  # noqa: PLW0603
    _running = running


def running_name() -> str:
    """Return the name of the command that runs."""
    return _running.name


def program() -> str:
    """Return what the user types to run this program: its name if it is on PATH, or else its path."""
    path, found = Path(sys.argv[0]), shutil.which(_PROGRAM)
    if path.stem != _PROGRAM or (found and path.exists() and path.samefile(found)):
        return _PROGRAM
    path = Path(os.path.abspath(path))  # noqa: PTH100  # a link in .venv/bin must stay what it is
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def openai_webhooks(*words: str) -> str:
    """Return a command of this program, with the options that select the same stack."""
    # The variable may not be set where the user pastes the command.
    default = DEFAULT_STACK if os.environ.get(STACK_VARIABLE, DEFAULT_STACK) == DEFAULT_STACK else ""
    stack = () if _running.stack == default else ("--stack", _running.stack)
    return _join(program(), *words, *stack, *_place())


def without_stack(*words: str) -> str:
    """Return a command of this program that needs no stack."""
    return _join(program(), *words)


def aws(*words: str, region: str) -> str:
    """Return a command of the AWS CLI, in the stack's region."""
    return _join("aws", *words, "--region", region, *_place(region=False))


def make(target: str, *arguments: str) -> str:
    """Return a make target for the stack. `arguments` and options become ARGS."""
    environment = _environment(_running.stack)
    if environment is None:
        arguments = ("--stack-name", _running.stack, *arguments)
    place = _place(endpoint_url=False)
    args = (f"ARGS={_join(*place, *arguments)}",) if place or arguments else ()
    env = (f"ENV={environment}",) if environment not in (None, "default") else ()
    return _join("make", target, *env) + "".join(f" ARGS={shlex.quote(arg[5:])}" for arg in args)


def _place(*, region: bool = True, endpoint_url: bool = True) -> list[str]:
    given = {
        "--region": _running.region if region else None,
        "--profile": _running.profile,
        # A variable that is set applies to the next command, too.
        "--endpoint-url": _running.endpoint_url
        if endpoint_url and _running.endpoint_url != os.environ.get("AWS_ENDPOINT_URL")
        else None,
    }
    return [word for option, value in given.items() if value for word in (option, value)]


def _environment(stack: str) -> str | None:
    """Return the environment of samconfig.toml that deploys the stack, or None."""
    if stack == DEFAULT_STACK:
        return "default"
    try:
        config = tomllib.loads(Path("samconfig.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    for name, commands in config.items():
        if isinstance(commands, dict):
            settings = [commands.get(command, {}).get("parameters", {}) for command in ("deploy", "global")]
            if next((found["stack_name"] for found in settings if "stack_name" in found), None) == stack:
                return name
    return None


def _join(*words: str) -> str:
    return shlex.join(printable(word, 10_000) for word in words)
