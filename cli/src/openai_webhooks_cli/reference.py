"""The generated part of docs/guide/command-reference.md: every command for a deployed stack, and the IAM policies."""

import inspect
from collections.abc import Iterator
from typing import Any

import typer

from openai_webhooks_cli.commands.iam_policies import COMMANDS, POLICIES
from openai_webhooks_cli.main import app

SHARED = ("--stack", "--profile", "--region", "--endpoint-url", "--json")
"""Options that all these commands have. The guide explains them."""


def page() -> str:
    """Return Markdown."""
    return "\n".join([*_commands(), *_policies()])


def commands() -> dict[str, Any]:
    """Return the commands for a deployed stack by their names, such as `dead-letters list`."""
    top = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    return {
        f"{name} {sub}".strip(): command
        for name, group in top.items()
        if group.rich_help_panel == "Deployed stack"
        for sub, command in getattr(group, "commands", {"": group}).items()
    }


def _commands() -> Iterator[str]:
    for name, command in commands().items():
        arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
        usage = " ".join(f"{parameter.metavar or parameter.name.upper()}" for parameter in arguments)
        yield f"### {name}\n"
        yield f"`openai-webhooks {f'{name} {usage}'.strip()}`\n"
        yield inspect.cleandoc(command.help).replace("\n\n", "\0").replace("\n", " ").replace("\0", "\n\n") + "\n"
        rows = [row for parameter in command.params if (row := _row(parameter))]
        if rows:
            yield "\n".join(["| argument or option | effect |", "| --- | --- |", *rows, ""])
        yield f"Policies: {', '.join(f'`{policy}`' for policy in COMMANDS[name])}\n"


def _row(parameter: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    if not is_argument and (parameter.opts[0] in SHARED or parameter.opts[0] == "--help"):
        return ""
    names = (
        [parameter.metavar or parameter.name.upper()] if is_argument else [*parameter.opts, *parameter.secondary_opts]
    )
    value = f" {parameter.metavar}" if parameter.metavar and not is_argument else ""
    option = f"{', '.join(names)}{value}".replace("|", "\\|")
    return f"| `{option}` | {parameter.help} |"


def _policies() -> Iterator[str]:
    yield "## Policies\n"
    yield "| policy | actions | resources |\n| --- | --- | --- |"
    for name, grants in POLICIES.items():
        for resource, actions in grants:
            listed = ", ".join(f"`{action}`" for action in actions.split())
            yield f"| `{name}` | {listed} | {'all' if resource == '*' else resource} |"
