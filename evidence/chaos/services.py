"""The in-memory Secrets Manager, DynamoDB and EventBridge, over HTTP, with a middleware that can fail each call."""

import asyncio
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, assert_never

from tests.support import asyncio_http as http
from tests.support.in_memory_aws import Bus, Parameters, Refusal, Secret, Table


class Call(NamedTuple):
    operation: str
    caller: str
    """The access key id that signed it."""
    parameters: Parameters
    retry: bool = False
    """Whether it is a retry by botocore."""


class Answer(NamedTuple):
    status: int
    body: Mapping[str, Any]

    @classmethod
    def error(cls, code: str, message: str = "", *, status: int = 400) -> "Answer":
        return cls(status, {"__type": code, "message": message})


type Break = Literal["reset", "hang", "trickle"]
"""What a network does instead of an answer."""

type Serve = Callable[[Call], Answer]
type Middleware = Callable[[Call, Serve], Answer | Break]
"""Handles each call: lets it take effect or not, and returns what the caller sees."""


def _untouched(call: Call, serve: Serve) -> Answer:
    return serve(call)


class Services:
    """The three services and a middleware that sees their calls first."""

    def __init__(
        self, *, secret_id: str, secret: str, table: str, bus: str, middleware: Middleware = _untouched
    ) -> None:
        self.secret, self.table, self.bus = Secret(secret_id, secret), Table(table), Bus(bus)
        self._middleware = middleware
        self._operations: Mapping[str, Callable[[Parameters], Parameters]] = {
            "GetSecretValue": self.secret.get,
            "PutSecretValue": self.secret.put,
            "UpdateSecretVersionStage": self.secret.move,
            "PutItem": self.table.put,
            "UpdateItem": self.table.update,
            "DeleteItem": self.table.delete,
            "PutEvents": self.bus.put,
        }

    def serve(self, call: Call) -> Answer:
        """Let a call take effect."""
        if call.operation not in self._operations:
            return Answer.error("UnknownOperationException", call.operation)
        try:
            return Answer(200, self._operations[call.operation](call.parameters))
        except Refusal as refusal:
            return Answer(400, {"__type": refusal.code, "message": refusal.message, **refusal.fields})

    def handle(self, request: http.Request, connection: http.Connection) -> None:
        """Answer a request of the AWS JSON protocol."""
        # AWS4-HMAC-SHA256 Credential=<access key id>/<date>/…
        caller = request.headers["authorization"].partition("Credential=")[2].partition("/")[0]
        _, _, operation = request.headers["x-amz-target"].rpartition(".")
        retry = not request.headers["amz-sdk-request"].startswith("attempt=1")
        match self._middleware(Call(operation, caller, json.loads(request.body), retry), self.serve):
            case Answer(status, body):
                connection.answer(status, http.encode(body))
            case "reset":
                connection.reset()
            case "trickle":
                connection.trickle()
            case "hang":
                pass
            case never:
                assert_never(never)


def declared_by(environment: Mapping[str, str], *, secret: str, middleware: Middleware = _untouched) -> Services:
    """Return the services for a receiver with this environment."""
    return Services(
        secret_id=environment["SIGNING_SECRET_ARN"],
        secret=secret,
        table=environment["DELIVERIES_TABLE_NAME"],
        bus=environment["EVENT_BUS_NAME"],
        middleware=middleware,
    )


@contextmanager
def in_thread(services: Services, *, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve in a new thread. Returns the port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(http.listen(services.handle, tls=tls))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield http.port(server)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(http.close(server))
        loop.close()
