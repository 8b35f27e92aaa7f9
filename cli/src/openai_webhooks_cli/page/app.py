"""The page as a part of a web server on this machine."""

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import Any

from werkzeug import Request, Response
from werkzeug.exceptions import HTTPException

from openai_webhooks_cli.page.feed import Feed, Record

HEARTBEAT = 10  # seconds
RETRY = 1000  # milliseconds until the browser connects again

_STATIC = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
_ACTIONS = "/page/actions/"
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Page:
    """Answers the requests of the page.

    `actions` are functions that the page calls: each takes the action's input and returns an answer in JSON. `info` is
    JSON with what the page shows: `title`, `url` (where deliveries go, or None), `types`, and `samples` of their data,
    by type, if the page can send.
    """

    def __init__(
        self, feed: Feed, *, actions: Mapping[str, Callable[[dict[str, Any]], Any]], info: Mapping[str, Any]
    ) -> None:
        self._feed = feed
        self._actions = actions
        self._info = {"actions": list(actions), **info}
        # A browser whose page is from another run knows by this that its records are gone.
        self._instance = secrets.token_hex(8)

    def close(self) -> None:
        """End all event streams, so that the server can stop at once."""
        self._feed.close()

    def respond(self, request: Request) -> Response | None:
        """Answer a request, or return None if its method and path are not the page's."""
        answer = self._find(request)
        if answer is None:
            return None
        response = answer(request)
        response.headers.update(_HEADERS)
        return response

    def _find(self, request: Request) -> Callable[[Request], Response] | None:
        match request.method, request.path:
            case "GET", path if path in _STATIC:
                return _static
            case "GET", "/page/info":
                return lambda _: _json(self._info)
            case "GET", "/page/events":
                return self._stream
            case "POST", path if path.startswith(_ACTIONS):
                return self._act
        return None

    def _act(self, request: Request) -> Response:
        action = self._actions.get(request.path.removeprefix(_ACTIONS))
        if action is None:
            return _json({"error": "There is no such action."}, 404)
        try:
            arguments = request.get_json()
        except HTTPException as error:
            return _json({"error": "An action's input must be JSON."}, error.code or 400)
        if not isinstance(arguments, dict):
            return _json({"error": "An action's input must be a JSON object."}, 400)
        try:
            return _json(action(arguments))
        except ValueError as error:
            return _json({"error": str(error)}, 400)

    def _stream(self, request: Request) -> Response:
        last = request.headers.get("Last-Event-ID", "")
        version = int(last) if re.fullmatch("[0-9]{1,15}", last) else 0
        return Response(self._changes(version), content_type="text/event-stream")

    def _changes(self, version: int) -> Iterator[str]:
        hello = {"instance": self._instance, "version": self._feed.version, "limit": self._feed.limit}
        yield f"retry: {RETRY}\nevent: hello\ndata: {json.dumps(hello)}\n\n"
        while not self._feed.closed:
            for changed, record in self._feed.changes_since(version):
                yield f"id: {changed}\ndata: {_encode(record)}\n\n"
                version = changed
            if not self._feed.wait(version, HEARTBEAT):
                yield ": heartbeat\n\n"  # fails if the browser has gone, which ends this loop


def _static(request: Request) -> Response:
    name, content_type = _STATIC[request.path]
    return Response(files(__package__).joinpath("static", name).read_bytes(), content_type=content_type)


def _json(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/json")


def _encode(record: Record) -> str:
    """Return the record in JSON, without line breaks.

    An event that a browser cannot read must not end the stream: the browser would connect and fail again.
    """
    try:
        return json.dumps(record, allow_nan=False)
    except (ValueError, RecursionError):
        return json.dumps(
            {**record, "bus_event": "The page cannot show this event: it is too deep, or not valid JSON."}
        )
