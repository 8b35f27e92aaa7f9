"""The HTTP front: API Gateway's part."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from werkzeug import Request, Response
from werkzeug.serving import make_server

from webhooks import gateway
from webhooks.instances import Instances


class Answered(NamedTuple):
    """A delivery that the front has answered."""

    event_type: str
    event_id: str
    status: int
    outcome: str
    seconds: float


class Front:
    """Serves the one route of the template, in payload format 2.0, on a socket that listens."""

    def __init__(
        self,
        listening: socket.socket,
        route: tuple[str, str],
        receiver: Instances,
        *,
        log: Path,
        answered: Callable[[Answered], None],
    ) -> None:
        self._route = route
        self._receiver = receiver
        self._log = log
        self._answered = answered
        self.event_ids: set[str] = set()
        """Of the events that have come this way; an id is here before its event is on the bus."""
        host, port = listening.getsockname()
        self.url = f"http://{host}:{port}{route[1]}"
        application = Request.application(self._respond)
        self._server = make_server(host, port, application, threaded=True, fd=listening.fileno())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()

    def _respond(self, request: Request) -> Response:
        if (request.method, request.path) != self._route:
            return Response('{"message":"Not Found"}', 404, content_type="application/json")
        body = request.get_data()
        event_type, event_id = _event_type_and_id(body)
        self.event_ids.add(event_id)
        headers = {name.lower(): value for name, value in request.headers.items()}
        begun = time.perf_counter()
        event = gateway.request_event(request.method, request.path, headers, body, now=int(time.time()))
        try:
            answer = self._receiver.invoke(event).result()
        except Exception as error:  # noqa: BLE001  # whatever the function raises, API Gateway answers this
            answer = {"statusCode": 500, "body": '{"message":"Internal Server Error"}', "headers": {}}
            logging.getLogger(__name__).error("The receiver failed with %s: see %s", type(error).__name__, self._log)  # noqa: TRY400
        (outcome,) = json.loads(answer["body"]).values()
        self._answered(Answered(event_type, event_id, answer["statusCode"], outcome, time.perf_counter() - begun))
        return Response(answer["body"], answer["statusCode"], headers=answer["headers"])


def _event_type_and_id(body: bytes) -> tuple[str, str]:
    """What the event in a body that nobody has verified calls itself."""
    try:
        event = json.loads(body)
        return str(event["type"]), str(event["id"])
    except (ValueError, TypeError, KeyError):
        return "?", ""
