"""The options that the commands for a deployed stack share."""

from typing import Annotated

import typer

from openai_webhooks import CATALOG
from openai_webhooks_cli.shell.next_command import DEFAULT_STACK, STACK_VARIABLE

__all__ = ["DEFAULT_STACK", "EndpointUrl", "Json", "Profile", "Region", "StackName", "Yes", "event_types"]

StackName = Annotated[
    str, typer.Option("--stack", envvar=STACK_VARIABLE, metavar="NAME", help="Name of the receiver's stack.")
]
Profile = Annotated[str | None, typer.Option("--profile", help="Profile in your AWS configuration.")]
Region = Annotated[str | None, typer.Option("--region", help="AWS region of the stack.")]
EndpointUrl = Annotated[
    str | None,
    typer.Option(
        "--endpoint-url",
        envvar="AWS_ENDPOINT_URL",
        help="URL of another AWS, such as the embedded AWS of `make dev`, which needs no credentials.",
        show_envvar=False,
    ),
]


def event_types(incomplete: str) -> list[str]:
    """Return the known types that a shell can complete to."""
    return [event_type for event_type in CATALOG if event_type.startswith(incomplete)]


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line. Everything else goes to stderr.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
