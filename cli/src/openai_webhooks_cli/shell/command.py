"""What makes a function a command, and how a command ends."""

import functools
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Final

import typer
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError

from openai_webhooks_cli.shell.errors import CannotRun, Failed, Stopped, explain
from openai_webhooks_cli.shell.next_command import Running, remember
from openai_webhooks_cli.shell.output import Output

FAILED: Final = 1
"""The exit status if a command found a problem, or did only part of its work."""
_CANNOT_RUN: Final = 2


def command(app: typer.Typer, name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a function to `app` as the command `name`.

    What the function raises becomes a message on stderr and an exit status. Its options that select a stack are
    repeated in the commands that messages name.
    """
    group = app.info.name if isinstance(app.info.name, str) else ""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(**options: Any) -> None:
            selected = {field: options[field] for field in Running._fields if field in options and field != "name"}
            remember(Running(f"{group} {name}".strip(), **selected))
            _end_in_order(lambda: function(**options))

        return app.command(name, rich_help_panel=None if group else "Deployed stack")(run)

    return decorate


def _end_in_order(call: Callable[[], None]) -> None:
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
        message, status = explain(error), _CANNOT_RUN
    except ResponseParserError:
        message, status = "The answer is not from AWS. Check --endpoint-url and proxies.", _CANNOT_RUN
    else:
        return
    Output().error(message)
    raise typer.Exit(status)
