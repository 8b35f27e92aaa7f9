"""The commands."""

# Imported by the functions' instances too, which start the faster the less stands here: each command imports
# what it needs.
# ruff: noqa: PLC0415

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from openai_webhooks import CATALOGUE, NotConfigured
from webhooks import samples

app = typer.Typer(no_args_is_help=True, pretty_exceptions_show_locals=False, help=__doc__)
console = Console()

DEV_PORT = 8787
DEV_AWS_PORT = 4510
DEV_URL = f"http://127.0.0.1:{DEV_PORT}/webhooks/openai"
SECRET_VARIABLE = "OPENAI_WEBHOOK_SECRET"  # noqa: S105  # the variable's name, which is the SDK's


@app.command()
def demo() -> None:
    """Run every event type and every refusal through the whole chain on this machine, and check each.

    Needs no account, no Docker and no keys. Exits with 1 unless every event reached exactly the subscribers
    whose patterns match, once each.
    """
    from rich.progress import Progress, SpinnerColumn, TextColumn

    from webhooks import demo as demonstration
    from webhooks.chain import Chain

    previous_secret = samples.new_secret()
    log = Path(tempfile.mkdtemp(prefix="openai-webhooks-"), "functions.log")
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True) as progress:
        task = progress.add_task("")

        def show(text: str) -> None:
            progress.update(task, description=text)
            if not console.is_terminal:
                console.print(text)

        with Chain(secret=previous_secret, log=log, progress=show) as chain:
            show("Delivering")
            results = demonstration.deliver(
                chain, secret=samples.new_secret(), previous_secret=previous_secret, progress=lambda: None
            )
            faults = list(demonstration.faults(chain, results))
            reached = {r.delivery.event["id"]: chain.subscribers.reached(r.delivery.event["id"]) for r in results}

    table = Table("delivery", "status", "outcome", "subscribers reached", "ms", box=None, pad_edge=False)
    table.columns[4].justify = "right"
    for result in results:
        subscribers = ", ".join(reached[result.delivery.event["id"]]) if result.published else ""
        style = None if result.right else "red"
        table.add_row(
            result.delivery.label,
            str(result.status),
            result.outcome,
            subscribers,
            f"{result.milliseconds:.0f}",
            style=style,
        )
    console.print(table)
    published = sum(result.published for result in results)
    if faults:
        for fault in faults:
            console.print(f"[red]{fault}[/red]")
        console.print(f"[red]Failed.[/red] What the functions printed: {log}")
        raise typer.Exit(1)
    shutil.rmtree(log.parent)
    console.print(
        f"[green]Passed:[/green] {len(results)} deliveries, {published} events on the bus, each at exactly the "
        "subscribers whose patterns match, once."
    )


@app.command()
def dev(
    port: Annotated[int, typer.Option(help="Port of the URL that takes deliveries.")] = DEV_PORT,
    aws_port: Annotated[int, typer.Option(help="Port of the embedded AWS.")] = DEV_AWS_PORT,
) -> None:
    """Keep the whole chain running on this machine and show each delivery as it comes. Ctrl-C ends it."""
    from webhooks import watch
    from webhooks.chain import PortTakenError

    try:
        command = f"{Path(sys.argv[0])} send response.completed" + (
            f" --url {DEV_URL.replace(str(DEV_PORT), str(port))}" if port != DEV_PORT else ""
        )
        watch.run(console, command=command, port=port, aws_port=aws_port, secret=samples.DEVELOPMENT_SECRET)
    except PortTakenError as error:
        _fail(str(error))


@app.command()
def send(
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="For instance batch.completed.")],
    url: Annotated[str, typer.Option(help="Where to deliver.")] = DEV_URL,
    secret: Annotated[
        str, typer.Option(help="The signing secret, whsec_….", envvar=SECRET_VARIABLE, show_default=False)
    ] = samples.DEVELOPMENT_SECRET,
    data: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Sets a field of the event's data; repeatable.")
    ] = None,
    webhook_id: Annotated[
        str | None, typer.Option("--id", help="The webhook-id: that of an earlier delivery makes it a redelivery.")
    ] = None,
    tamper: Annotated[
        Literal["signature", "timestamp", "body"] | None, typer.Option(help="Break the delivery in this part.")
    ] = None,
) -> None:
    """Sign a sample event as OpenAI does and deliver it. Exits with 1 unless it is accepted.

    The secret is by default that of `webhooks dev`.
    """
    import requests

    now = int(time.time())
    event = samples.sample(event_type, created_at=now, event_id=samples.new_id("evt_"))
    event["data"] |= dict(_field(pair) for pair in data or [])
    body = samples.encode(event)
    webhook_id = webhook_id or samples.new_id("wh_")
    try:
        headers = samples.headers(body, secret=secret, timestamp=now, webhook_id=webhook_id)
    except NotConfigured as error:
        _fail(f"{error} (--secret, or {SECRET_VARIABLE})")
    if event_type not in CATALOGUE:
        console.print(f"{event_type} is not in the catalogue: sent all the same, with an id for its data.")
    match tamper:
        case "signature":
            headers["webhook-signature"] = "v1," + headers["webhook-signature"][:2:-1]
        case "timestamp":
            headers["webhook-timestamp"] = str(now - 3600)
        case "body":
            body += b" "
    begun = time.perf_counter()
    try:
        response = requests.post(url, data=body, headers=headers, timeout=30)
    except requests.RequestException as error:
        _fail(f"No answer from {url} ({type(error).__name__}): start `make dev`, or say where with --url.")
    milliseconds = (time.perf_counter() - begun) * 1000
    console.print(f"{response.status_code} {response.text}  {milliseconds:.0f} ms  {webhook_id}", highlight=False)
    if not response.ok:
        raise typer.Exit(1)


@app.command()
def events(
    event_type: Annotated[str | None, typer.Argument(metavar="[TYPE]")] = None,
    write: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Write a signed API Gateway event per type into it.")
    ] = None,
) -> None:
    """List the event types, or print a sample of one."""
    if write:
        from webhooks.gateway import write_events

        write_events(write)
        console.print(f"Wrote {len(CATALOGUE)} events into {write}.")
    elif event_type is None:
        table = Table("type", "sent when", box=None, pad_edge=False)
        for known, event in CATALOGUE.items():
            table.add_row(known, event.__doc__)
        console.print(table)
    elif event_type in CATALOGUE:
        console.print_json(json.dumps(samples.sample(event_type, created_at=int(time.time()))))
    else:
        _fail(f"{event_type} is not in the catalogue: `webhooks events` lists it.")


def _field(pair: str) -> tuple[str, Any]:
    key, separator, value = pair.partition("=")
    if not separator:
        _fail(f"--data {pair}: KEY=VALUE is wanted.")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _fail(message: str) -> NoReturn:
    Console(stderr=True).print(message, style="red", highlight=False, soft_wrap=True)
    raise typer.Exit(2)
