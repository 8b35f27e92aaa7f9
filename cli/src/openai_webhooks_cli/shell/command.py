"""What all commands for a deployed stack have in common: their options, and how they end."""

import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple

import typer
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from openai_webhooks_cli.aws.stack import Session, Stack, find_stack
from openai_webhooks_cli.shell.errors import CannotRun, Failed, Stopped, explain
from openai_webhooks_cli.shell.output import Output

FAILED: Final = 1
"""The exit status if a command found a problem, or did only part of its work."""
_CANNOT_RUN: Final = 2
_DEFAULT_STACK: Final = "openai-webhooks"

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


class Selection(NamedTuple):
    """The stack that the user chose."""

    stack: str
    profile: str | None
    region: str | None
    endpoint_url: str | None

    @property
    def options(self) -> dict[str, str]:
        """The options to repeat in another command, by name. Those with the default value are not among them."""
        given = {"stack": self.stack, "profile": self.profile, "region": self.region}
        return {name: value for name, value in given.items() if value not in (None, _DEFAULT_STACK)}

    def find(self, output: Output) -> Stack:
        """Find the stack, and show where the command works. Raises CannotRun if there is no such stack."""
        return find_stack(self.session(), output, self.stack)

    def session(self) -> Session:
        """Return the user's credentials and region."""
        return Session(profile=self.profile, region=self.region, endpoint_url=self.endpoint_url)


def _shared_options(
    *,
    stack: Annotated[
        str,
        typer.Option(envvar="OPENAI_WEBHOOKS_STACK", help="Name of the receiver's stack.", metavar="NAME"),
    ] = _DEFAULT_STACK,
    profile: Annotated[str | None, typer.Option(help="Profile in your AWS configuration.")] = None,
    region: Annotated[str | None, typer.Option(help="AWS region of the stack.")] = None,
    endpoint_url: Annotated[
        str | None,
        typer.Option(
            envvar="AWS_ENDPOINT_URL",
            help="URL of another AWS, such as the embedded AWS of `make dev`. Without AWS credentials, a running "
            "`make dev` is found.",
            show_envvar=False,
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per line. Everything else goes to stderr.")
    ] = False,
) -> tuple[Output, Selection]:
    return Output(as_json=json), Selection(stack, profile, region, endpoint_url)


def command(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command for Typer of a function whose first arguments are an Output and a Selection.

    The command has the shared options too. What the function raises becomes a message on stderr and an exit status.
    `name` is what the user typed.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        shared = inspect.signature(_shared_options).parameters
        own = list(inspect.signature(function).parameters.values())[2:]

        @functools.wraps(function)
        def run(**options: Any) -> None:
            output, selection = _shared_options(**{option: options.pop(option) for option in shared})
            _end_in_order(lambda: function(output, selection, **options), name)

        # Typer reads the options from these.
        parameters = [*own, *shared.values()]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def _end_in_order(call: Callable[[], None], name: str) -> None:
    try:
        call()
    except (KeyboardInterrupt, typer.Abort):
        raise typer.Exit(128 + signal.SIGINT) from None
    except BrokenPipeError:
        # The reader of the output has ended, such as `head`. Python would complain when it flushes the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(FAILED) from None
    except Stopped as stopped:
        raise typer.Exit(stopped.exit_status) from None
    except Failed as failure:
        message, status = str(failure), FAILED
    except CannotRun as failure:
        message, status = str(failure), _CANNOT_RUN
    except (BotoCoreError, ClientError) as error:
        message, status = explain(error, name), _CANNOT_RUN
    except ResponseParserError:
        message, status = "The answer is not from AWS. Check --endpoint-url and proxies.", _CANNOT_RUN
    else:
        return
    Output().error(message)
    raise typer.Exit(status)
