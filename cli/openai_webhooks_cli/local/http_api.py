"""The HTTP server that replaces API Gateway's HTTP API."""

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

from openai_webhooks_cli import apigw_event
from openai_webhooks_cli.local.function_pool import FunctionPool


class AnsweredDelivery(NamedTuple):
    """A delivery and its answer."""

    webhook_id: str
    event_type: str
    event_id: str
    status: int
    outcome: str
    seconds: float


class HttpApi:
    """Serves the template's one route, and invokes the receiver with payload format 2.0."""

    def __init__(
        self,
        listener: socket.socket,
        route: tuple[str, str],
        receiver: FunctionPool,
        *,
        log: Path,
        on_answer: Callable[[AnsweredDelivery], None],
    ) -> None:
        self._route = route
        self._receiver = receiver
        self._log = log
        self._on_answer = on_answer
        self.event_ids: set[str] = set()
        """The ids of all delivered events. An id is added before its event is published."""
        host, port = listener.getsockname()
        self.url = f"http://{host}:{port}{route[1]}"
        application = Request.application(self._respond)
        self._server = make_server(host, port, application, threaded=True, fd=listener.fileno())
        # close() waits for one poll interval.
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()

    def _respond(self, request: Request) -> Response:
        if (request.method, request.path) != self._route:
            return Response('{"message":"Not Found"}', 404, content_type="application/json")
        body = request.get_data()
        event_type, event_id = _event_type_and_id(body)
        self.event_ids.add(event_id)
        headers = {name.lower(): value for name, value in request.headers.items()}
        start = time.perf_counter()
        event = apigw_event.request_event(request.method, request.path, headers, body, now=int(time.time()))
        try:
            answer = self._receiver.invoke(event).result()
        except Exception as error:  # noqa: BLE001  # API Gateway gives this answer to any exception of the function
            answer = {"statusCode": 500, "body": '{"message":"Internal Server Error"}', "headers": {}}
            logging.getLogger(__name__).error("The receiver failed with %s: see %s", type(error).__name__, self._log)  # noqa: TRY400  # the traceback is in the log file
        (outcome,) = json.loads(answer["body"]).values()
        seconds = time.perf_counter() - start
        webhook_id = headers.get("webhook-id", "")
        self._on_answer(AnsweredDelivery(webhook_id, event_type, event_id, answer["statusCode"], outcome, seconds))
        return Response(answer["body"], answer["statusCode"], headers=answer["headers"])


def _event_type_and_id(body: bytes) -> tuple[str, str]:
    """Read the type and the id of the event, before anything has verified the body."""
    try:
        event = json.loads(body)
        return str(event["type"]), str(event["id"])
    except (ValueError, TypeError, KeyError):
        return "?", ""
