"""The HTTP server that replaces API Gateway's HTTP API."""

import json
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from werkzeug import Request, Response

from openai_webhooks_cli import apigw_event
from openai_webhooks_cli.local import wsgi_server
from openai_webhooks_cli.local.function_pool import FunctionFailed, FunctionPool

_REMEMBERED = 10_000  # ids of events


class AnsweredDelivery(NamedTuple):
    """A request and its answer."""

    event_type: str
    """As far as it can be read from a body that nothing has verified."""
    event_id: str
    headers: Mapping[str, str]
    """With lower-case names."""
    body: bytes
    status: int
    outcome: str
    reason: str
    """Why the receiver rejected the delivery. Empty if it did not."""
    eventbridge_id: str
    """Empty if no event is on the bus."""
    seconds: float
    log: Sequence[str]
    """What the receiver printed."""


class HttpApi:
    """Serves the template's one route, and invokes the receiver with payload format 2.0.

    Other requests go to `fallback` first, for example to a page.
    """

    def __init__(
        self,
        listener: socket.socket,
        route: tuple[str, str],
        receiver: FunctionPool,
        *,
        on_answer: Callable[[AnsweredDelivery], None],
        fallback: Callable[[Request], Response | None] = lambda _: None,
    ) -> None:
        self._route = route
        self._receiver = receiver
        self._on_answer = on_answer
        self.fallback = fallback
        self._in_flight = 0
        self._idle = threading.Condition()
        self._published: OrderedDict[str, None] = OrderedDict()
        host, port = listener.getsockname()
        self.url = f"http://{host}:{port}{route[1]}"
        self._server = wsgi_server.start(Request.application(self._respond), listener)

    def close(self) -> None:
        wsgi_server.stop(self._server)

    def has_published(self, eventbridge_id: str) -> bool:
        """Return whether a delivery to this API put the event on the bus. Waits for the deliveries in progress."""
        with self._idle:
            self._idle.wait_for(lambda: not self._in_flight or eventbridge_id in self._published, timeout=30)
            return eventbridge_id in self._published

    def _respond(self, request: Request) -> Response:
        if (request.method, request.path) == self._route:
            with self._idle:
                self._in_flight += 1
            try:
                return self._deliver(request)
            finally:
                with self._idle:
                    self._in_flight -= 1
                    self._idle.notify_all()
        answer = self.fallback(request)
        if answer is None:
            answer = Response('{"message":"Not Found"}', 404, content_type="application/json")
            method, path = self._route
            reason = f"{request.method} {request.path} has no route. Deliveries go to {method} {path}"
            self._on_answer(AnsweredDelivery("?", "", {}, b"", 404, "Not Found", reason, "", 0.0, ()))
        return answer

    def _deliver(self, request: Request) -> Response:
        body = request.get_data()
        headers = {name.lower(): value for name, value in request.headers.items()}
        event = apigw_event.request_event(request.method, request.path, headers, body, now=int(time.time()))
        start = time.perf_counter()
        reason = ""
        try:
            answer, log = self._receiver.invoke(event)
        except FunctionFailed as error:
            # API Gateway gives this answer to any failure of the function.
            answer = {"statusCode": 500, "body": '{"message":"Internal Server Error"}', "headers": {}}
            reason, log = f"the receiver failed: {error}", error.log
        seconds = time.perf_counter() - start
        (outcome,) = json.loads(answer["body"]).values()
        line = _line_of_receiver(log)
        eventbridge_id = str(line.get("eventbridge_id", ""))
        if outcome == "published":
            with self._idle:
                self._published[eventbridge_id] = None
                while len(self._published) > _REMEMBERED:
                    self._published.popitem(last=False)
        event_type, event_id = _event_type_and_id(body)
        reason = reason or str(line.get("reason", ""))
        status = answer["statusCode"]
        self._on_answer(
            AnsweredDelivery(event_type, event_id, headers, body, status, outcome, reason, eventbridge_id, seconds, log)
        )
        return Response(answer["body"], status, headers=answer["headers"])


def _line_of_receiver(log: Sequence[str]) -> Mapping[str, object]:
    """Return the receiver's line about a delivery."""
    for line in log:
        if line.startswith('{"_aws"'):
            fields: Mapping[str, object] = json.loads(line)
            return fields
    return {}


def _event_type_and_id(body: bytes) -> tuple[str, str]:
    try:
        event = json.loads(body)
        return str(event["type"]), str(event.get("id", ""))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return "?", ""
