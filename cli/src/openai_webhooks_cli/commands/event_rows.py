"""Events and the answers to forwards, as lines of text."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from openai_webhooks import CATALOG
from openai_webhooks_cli.aws.tap import Received, event_id
from openai_webhooks_cli.commands.forwarding import Answer
from openai_webhooks_cli.shell.next_command import without_stack
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.printable import printable
from openai_webhooks_cli.shell.times import age, clock


def event_row(event: Mapping[str, Any], message: Received, received_at: float) -> Text:
    """Return an event's line: when it came (`received_at`, in Unix seconds), its type, its id, and how late it is."""
    detail = event.get("detail")
    created_at = detail.get("created_at") if isinstance(detail, dict) else None
    ages = []
    if isinstance(created_at, int) and 0 < created_at < 1 << 40:
        ages.append(f"{age(received_at - created_at)} after OpenAI")
    ages.append(f"{age(received_at - message.sent_at)} after the bus")
    if "replay-name" in event:
        ages = ["replayed"]
    return Text.assemble(
        (clock(received_at, milliseconds=True), "dim"),
        "  ",
        (f"{printable(str(event.get('detail-type', '?')), 128):<28}", "bold"),
        f"  {event_id(event)}  ",
        (", ".join(ages), "dim"),
    )


def event_fields(message: Received) -> dict[str, Any]:
    """Return an event in the form of --json."""
    return {"event": message.event} if message.event else {"body": message.body}


def answer_row(answer: Answer, suffix: str) -> Text:
    """Return the line below an event: what a server answered."""
    status = "no answer" if answer.status is None else str(answer.status)
    text = f"  {answer.text}" if answer.text else ""
    return Text.assemble(
        "              -> ",
        (status, "green" if answer.ok else "red"),
        f" POST {printable(answer.url)}  {answer.milliseconds:.0f} ms{suffix}{text}",
    )


def answer_fields(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """Return answers in the form of --json."""
    return [{"url": a.url, "status": a.status, "ms": round(a.milliseconds), "text": a.text} for a in answers]


def details(message: Received) -> str:
    """Return an event as formatted JSON."""
    try:
        return formatted(json.loads(message.body))
    except (ValueError, RecursionError):
        return printable(message.body, 10_000)


def formatted(value: Any) -> str:
    """Return a value in JSON for people. It is in ASCII, so no character can act on the terminal."""
    return json.dumps(value, indent=2)


def warn_of_unknown(output: Output, types: Sequence[str]) -> None:
    """Warn of types that the user typed and that the catalog does not have."""
    for event_type in types:
        if not event_type.endswith("*") and event_type not in CATALOG:
            output.warning(f"{event_type} is not a known event type. To list them: {without_stack('events')}")
