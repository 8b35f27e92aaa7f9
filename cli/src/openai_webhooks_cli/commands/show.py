"""`openai-webhooks show`: an event from the archive."""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer

from openai_webhooks_cli.aws.archive import local_time, require_archive
from openai_webhooks_cli.aws.archived_events import fetch, not_found, search_windows
from openai_webhooks_cli.aws.tap import Received
from openai_webhooks_cli.shell.command import Selection, command
from openai_webhooks_cli.shell.errors import CannotRun
from openai_webhooks_cli.shell.output import Output, printable
from openai_webhooks_cli.shell.stop import Stop


@command("show")
def show(
    output: Output,
    selection: Selection,
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="OpenAI's id of the event, evt_...")],
    since: Annotated[
        str, typer.Option(metavar="TIME", help="Search events since then: 24h, 09:14 or an ISO 8601 time.")
    ] = "24h",
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Search only the minute before and after this time.")
    ] = None,
) -> None:
    """Show an event from the archive. Subscribers are not affected.

    It searches the time that the id suggests first, then everything since
    --since. It uses a temporary queue, rule and replay, and removes them.
    """
    if event_id.startswith("wh_"):
        raise CannotRun(
            "An id wh_... names a delivery. Pass the id of its event, evt_..., which is in the event's JSON."
        )
    found = selection.find(output)
    archive = require_archive(found)
    now = datetime.fromtimestamp(found.now(), UTC)
    windows = search_windows([event_id], archive, now, since=since, at=at)
    with Stop() as stop:
        copies = fetch(found, archive, output, stop, windows, ids=[event_id])
    if not copies:
        raise not_found([event_id], archive, windows[-1], now, ["openai-webhooks", "show", event_id])
    for copy in copies:
        _print(output, copy)


def _print(output: Output, message: Received) -> None:
    event = message.event
    output.record(type="event", **({"event": event} if event else {"body": message.body}))
    if not event:
        output.line(printable(message.body, 10_000))
        return
    published = datetime.fromisoformat(event["time"])
    output.line(f"{printable(event['detail-type'])}  published {local_time(published)}", "bold")
    output.line(printable(f"EventBridge id {event['id']} · source {event['source']}"), "dim")
    # In ASCII no character can act on the terminal.
    output.line(json.dumps(event["detail"], indent=2))
