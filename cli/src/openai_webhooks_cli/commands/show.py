"""`openai-webhooks show`: an event from the archive."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from openai_webhooks_cli.aws.archive import READING, fetch, not_found, require_archive, search_windows
from openai_webhooks_cli.aws.tap import Received
from openai_webhooks_cli.commands.event_rows import event_fields, formatted
from openai_webhooks_cli.commands.open_stack import open_stack
from openai_webhooks_cli.shell import options
from openai_webhooks_cli.shell.command import command
from openai_webhooks_cli.shell.errors import CannotRun
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.printable import printable
from openai_webhooks_cli.shell.stop import Stop
from openai_webhooks_cli.shell.times import local_time

app = typer.Typer()


@command(app, "show")
def show(
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="OpenAI's id of the event, evt_...")],
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Search events since then: 24h, 09:14 or an ISO 8601 time.")
    ] = "24h",
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Search only the minute before and after this time.")
    ] = None,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Show an event from the archive. Subscribers are not affected.

    It searches the time that the id suggests first, then everything since
    --since. It uses a temporary queue, rule and replay, and removes them.
    """
    output = Output(as_json=as_json)
    if event_id.startswith("wh_"):
        raise CannotRun(
            "An id wh_... names a delivery. Pass the id of its event, evt_..., which is in the event's JSON."
        )
    if not event_id.startswith("evt_"):
        raise CannotRun(f"{printable(event_id) or 'An empty text'} is not the id of an event, which starts with evt_.")
    found = open_stack(output, stack, profile, region, endpoint_url)
    archive = require_archive(found)
    now = datetime.fromtimestamp(found.now(), UTC)
    windows = search_windows([event_id], archive, now, since=since, at=at)
    with output.progress(READING), Stop(output.error) as stop:
        copies = fetch(found, archive, stop, windows, ids=[event_id])
    if not copies:
        raise not_found([event_id], archive, windows[-1], now, ["show", event_id])
    for copy in copies:
        _print(output, copy)


def _print(output: Output, message: Received) -> None:
    output.record(type="event", **event_fields(message))
    event = message.event
    if not event:
        output.line(printable(message.body, 10_000))
        return
    published = datetime.fromisoformat(event["time"])
    output.line(f"{printable(event['detail-type'])}  published {local_time(published)}", "bold")
    output.line(printable(f"EventBridge id {event['id']} · source {event['source']}"), "dim")
    output.line(formatted(event["detail"]))
