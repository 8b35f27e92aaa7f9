"""Events and the answers to forwards, as lines of text."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from rich.text import Text

from openai_webhooks_cli.aws.tap import Received
from openai_webhooks_cli.commands.forwarding import Answer
from openai_webhooks_cli.shell.output import printable


def event_id(event: Mapping[str, Any]) -> str:
    """Return OpenAI's id of an event, or "-"."""
    detail = event.get("detail")
    return printable(str(detail.get("id", "-")) if isinstance(detail, dict) else "-", 64)


def event_row(event: Mapping[str, Any], message: Received, received_at: float) -> Text:
    """Return an event's line: when it came (`received_at`, in Unix seconds), its type, its id, and how late it is."""
    detail = event.get("detail")
    created_at = detail.get("created_at") if isinstance(detail, dict) else None
    ages = []
    if isinstance(created_at, int) and 0 < created_at < 1 << 40:
        ages.append(f"{_age(received_at - created_at)} after OpenAI")
    ages.append(f"{_age(received_at - message.sent_at)} after the bus")
    if "replay-name" in event:
        ages = ["replayed"]
    return Text.assemble(
        (clock(received_at, milliseconds=True), "dim"),
        "  ",
        (f"{printable(str(event.get('detail-type', '?')), 128):<28}", "bold"),
        f"  {event_id(event)}  ",
        (", ".join(ages), "dim"),
    )


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
        # In ASCII no character can act on the terminal.
        return json.dumps(json.loads(message.body), indent=2)
    except (ValueError, RecursionError):
        return printable(message.body, 10_000)


def _age(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def clock(seconds: float, *, milliseconds: bool = False) -> str:
    """Return a time, given in Unix seconds, on the user's clock."""
    moment = datetime.fromtimestamp(seconds).astimezone()
    return f"{moment:%H:%M:%S}" + (f".{moment.microsecond // 1000:03}" if milliseconds else "")


def iso_time(seconds: float) -> str:
    """Return a time, given in Unix seconds, in ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
