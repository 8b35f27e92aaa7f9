"""Receive OpenAI webhooks on AWS: try them locally, connect them, watch and replay them."""

# The local commands import moto and SAM's translator, which takes a second. Each imports what it needs.
# ruff: noqa: PLC0415

import json
import os
import time
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer
from rich.console import Console

from openai_webhooks import CATALOG, InvalidSecret
from openai_webhooks_cli import dev_defaults, samples, schemas
from openai_webhooks_cli.commands import dead_letters, doctor, endpoint, iam, listen, replay, rules, show, status
from openai_webhooks_cli.quiet_ctrl_c import quiet_ctrl_c
from openai_webhooks_cli.shell.next_command import without_stack
from openai_webhooks_cli.shell.options import event_types

app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False, help=__doc__)
console = Console()

SECRET_VARIABLE = "OPENAI_WEBHOOK_SECRET"  # noqa: S105  # the name of a variable, which OpenAI's SDK reads too


def _print_version(is_asked: bool) -> None:
    if is_asked:
        console.print(f"openai-webhooks {version('openai-webhooks-cli')}", highlight=False)
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also save the output as an SVG picture, if the demo passes.")
    ] = None,
) -> None:
    """Deliver every event type to the whole system on this machine, and check where each event arrives.

    You need no AWS account, no Docker and no keys. The exit status is 1 if a
    delivery gets an unexpected answer, or an event reaches the wrong subscribers.
    """
    _require_checkout()
    with quiet_ctrl_c():
        from openai_webhooks_cli.local import demo as local_demo

    if not local_demo.run(console, svg=svg):
        raise typer.Exit(1)


@app.command()
def dev(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the URL for deliveries. 0 chooses a free port.")
    ] = dev_defaults.PORT,
    aws_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the embedded AWS. 0 chooses a free port.")
    ] = dev_defaults.AWS_PORT,
    templates: Annotated[
        list[Path] | None,
        typer.Option(
            "--template",
            metavar="FILE",
            help="SAM template of a stack to run next to the receiver. You can repeat this option. By default, "
            "a stack with two subscribers: OnBatch and OnFailure.",
        ),
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter",
            metavar="NAME=VALUE",
            help="Set a parameter of the stacks that have it, for example LogLevel=DEBUG. You can repeat this option.",
        ),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Show deliveries on a page, at the root of the URL.")
    ] = True,
) -> None:
    """Run the whole system on this machine, and print a line for each delivery. Press Ctrl-C to stop it.

    A function restarts when you save a file of its code.
    """
    _require_checkout()
    with quiet_ctrl_c():
        from openai_webhooks_cli.local import dev as local_dev
        from openai_webhooks_cli.local.ports import PortTakenError
        from openai_webhooks_cli.local.sam_template import TemplateError

    try:
        local_dev.run(
            console,
            port=port,
            aws_port=aws_port,
            secret=samples.DEVELOPMENT_SECRET,
            templates=templates or [dev_defaults.SUBSCRIBER],
            parameters=dict(map(_assignment, parameters or [])),
            with_page=page,
        )
    except (PortTakenError, TemplateError) as error:
        _fail(str(error))


@app.command()
def send(
    event_type: Annotated[
        str,
        typer.Argument(autocompletion=event_types, metavar="TYPE", help="Event type, for example batch.completed."),
    ],
    url: Annotated[str, typer.Option(help="URL to deliver to.")] = dev_defaults.URL,
    secret: Annotated[
        str,
        typer.Option(
            help="Signing secret, whsec_... By default, the secret of `openai-webhooks dev`.",
            envvar=SECRET_VARIABLE,
            show_default=False,
        ),
    ] = samples.DEVELOPMENT_SECRET,
    data: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=TEXT",
            help="Set a field of the event's data. KEY:=JSON sets a value that is not text. A dot in KEY selects a "
            "field in an object. You can repeat this option.",
        ),
    ] = None,
    webhook_id: Annotated[
        str | None, typer.Option("--id", help="The webhook-id. Repeat the id of an earlier delivery to send it again.")
    ] = None,
    tamper: Annotated[
        Literal["signature", "timestamp", "body"] | None, typer.Option(help="Break this part of the delivery.")
    ] = None,
) -> None:
    """Sign a sample event as OpenAI does, and deliver it.

    The exit status is 1 if the receiver rejects the delivery, and 2 if no answer comes.
    """
    from openai_webhooks_cli import send as sender

    try:
        answer = sender.send(event_type, url=url, secret=secret, data=data or [], webhook_id=webhook_id, tamper=tamper)
    except sender.SendError as error:
        _fail(str(error))
    except InvalidSecret as error:
        _fail(f"{error}. Set --secret or {SECRET_VARIABLE}.")
    if answer.status == 401 and secret == os.environ.get(SECRET_VARIABLE):
        answer.notes.append(
            f"The delivery was signed with the secret in {SECRET_VARIABLE}. To sign with the secret of `make dev`, "
            f"first run: unset {SECRET_VARIABLE}"
        )
    for note in answer.notes:
        Console(stderr=True).print(note, style="yellow", highlight=False, soft_wrap=True, markup=False)
    console.print(
        f"{answer.status} {answer.text}  {answer.milliseconds:.0f} ms  {answer.webhook_id}",
        highlight=False,
        markup=False,
    )
    if answer.status >= 300:
        raise typer.Exit(1)


@app.command()
def events(
    event_type: Annotated[
        str | None,
        typer.Argument(autocompletion=event_types, metavar="[TYPE]", help="Event type to print a sample of."),
    ] = None,
    write: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Write a signed delivery of each type, for `sam local invoke -e`."),
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the type, in draft 4.")] = False,
    write_schemas: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write the JSON Schema of each type, and a template for them.")
    ] = None,
) -> None:
    """List the event types, or print a sample event or the JSON Schema of one type."""
    if write:
        from openai_webhooks_cli.apigw_event import write_events

        write_events(write)
        console.print(f"Wrote {len(CATALOG)} events to {write}.")
    elif write_schemas:
        schemas.write_schemas(write_schemas)
        console.print(f"Wrote {len(CATALOG)} schemas to {write_schemas}.")
    elif event_type is None and schema:
        name_type, list_types = without_stack("events", "TYPE", "--schema"), without_stack("events")
        _fail(f"Name a type: {name_type}. To list the types, run: {list_types}")
    elif event_type is None:
        width = max(map(len, CATALOG))
        for known_type, event_class in CATALOG.items():
            # A pipe gets a line for each type.
            console.print(
                f"{known_type:<{width}}  {event_class.__doc__}", soft_wrap=True, highlight=False, markup=False
            )
    elif schema and event_type in CATALOG:
        console.print_json(json.dumps(schemas.schema(event_type)))
    elif event_type in CATALOG:
        console.print_json(json.dumps(samples.sample(event_type, created_at=int(time.time()))))
    else:
        _fail(f"{event_type} is not a known type. To list the types, run: {without_stack('events')}")


for module in (listen, status, doctor, rules, show, replay, dead_letters, iam, endpoint):
    app.add_typer(module.app, rich_help_panel="Deployed stack")


def _require_checkout() -> None:
    if find_spec("moto") is None or not dev_defaults.RECEIVER.exists():
        _fail(
            "demo and dev run the receiver's template, which only a checkout of openai-webhooks-eventbridge has. "
            "Clone the repository, and run in it: make demo"
        )


def _assignment(text: str) -> tuple[str, str]:
    """Return the name and the value in NAME=VALUE."""
    name, separator, value = text.partition("=")
    if not name or not separator:
        _fail(f"Cannot read --parameter {text}. Write NAME=VALUE, for example --parameter LogLevel=DEBUG")
    return name, value


def _fail(message: str) -> NoReturn:
    Console(stderr=True).print(message, style="red", highlight=False, soft_wrap=True, markup=False)
    raise typer.Exit(2)
