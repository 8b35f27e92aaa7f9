"""The page of `listen`: live events of a deployed stack in a browser on this machine."""

from collections.abc import Mapping, Sequence
from typing import Any

from werkzeug import Request, Response

from openai_webhooks_cli.aws.tap import Received
from openai_webhooks_cli.commands.event_rows import answer_fields
from openai_webhooks_cli.commands.forwarding import Answer, Forwarder
from openai_webhooks_cli.local import wsgi_server
from openai_webhooks_cli.page.app import Page
from openai_webhooks_cli.page.feed import Feed


class LivePage:
    """A web server on a free port of the loopback address, with a record for each event. Close it at the end."""

    def __init__(self, title: str, forwarder: Forwarder) -> None:
        self._forwarder = forwarder
        self._feed = Feed()
        self._messages: dict[int, Received] = {}  # by record
        actions = {"forward_again": self._forward_again} if forwarder.targets else {}
        self._page = Page(self._feed, actions=actions, info={"title": title, "url": None, "types": []})
        self._server = wsgi_server.start(Request.application(self._respond))
        self.url = f"http://{self._server.host}:{self._server.port}/"

    def close(self) -> None:
        """Stop the server."""
        self._page.close()
        wsgi_server.stop(self._server)

    def received(self, event: Mapping[str, Any], message: Received, received_at: float) -> int:
        """Show an event. Return its record."""
        detail = event.get("detail")
        record_id = self._feed.add(
            time=received_at,
            kind="event",
            event_type=str(event.get("detail-type", "?")),
            event_id=str(detail.get("id", "")) if isinstance(detail, dict) else "",
            outcome="replayed" if "replay-name" in event else "on the bus",
            bus_event=event or message.body,
        )
        self._messages[record_id] = message
        while len(self._messages) > self._feed.limit:
            del self._messages[next(iter(self._messages))]
        return record_id

    def forwarded(self, record_id: int, answers: Sequence[Answer]) -> None:
        """Show what the local servers answered."""
        record = self._feed.get(record_id)
        if record and answers:
            self._feed.update(record_id, forwards=[*record.get("forwards", []), *answer_fields(answers)])

    def _forward_again(self, arguments: dict[str, Any]) -> dict[str, Any]:
        record_id = arguments.get("record_id")
        message = self._messages.get(record_id) if isinstance(record_id, int) else None
        if message is None or not isinstance(record_id, int):
            raise ValueError("This event is gone. Choose another one.")
        answers = self._forwarder.forward(message.event, message.body)
        self.forwarded(record_id, answers)
        return {"forwards": answer_fields(answers)}

    def _respond(self, request: Request) -> Response:
        return self._page.respond(request) or Response("Not Found", 404)
