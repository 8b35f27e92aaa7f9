"""The options that the commands for a deployed stack share."""

from typing import Annotated

import typer

from openai_webhooks_cli.shell.next_command import DEFAULT_STACK, STACK_VARIABLE

__all__ = ["DEFAULT_STACK", "EndpointUrl", "Json", "Profile", "Region", "StackName", "Yes"]

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
        help="URL of another AWS, such as the embedded AWS of `make dev`. Without AWS credentials, a running "
        "`make dev` is found.",
        show_envvar=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object per line. Everything else goes to stderr.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
