"""Secrets Manager, DynamoDB and EventBridge as the receiver calls them: over HTTP, in memory, each call atomic.

`python -m proof.services` serves them until Ctrl-C. What the receiver doesn't send is an error, never ignored;
tests/integration/proof/test_services.py compares the answers with moto's.
"""

import asyncio
import json
import signal
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple, assert_never
from uuid import UUID

from proof import http
from webhooks import samples

type Parameters = Mapping[str, Any]
type Item = Mapping[str, Any]
"""In DynamoDB's JSON: `{"id": {"S": "…"}}`."""


class Call(NamedTuple):
    operation: str
    caller: str
    """The access key id that signed it."""
    parameters: Parameters
    retry: bool = False
    """Whether it is botocore's second attempt."""


class Answer(NamedTuple):
    status: int
    body: Mapping[str, Any]

    @classmethod
    def error(cls, code: str, message: str = "", *, status: int = 400) -> "Answer":
        return cls(status, {"__type": code, "message": message})


type Break = Literal["reset", "hang", "trickle"]
"""What a network does in the place of an answer."""

type Serve = Callable[[Call], Answer]
type Middleware = Callable[[Call, Serve], Answer | Break]
"""Stands before the services: sees each call, lets it take effect or not, and says what the caller gets to see."""


class Refusal(Exception):
    """An answer that is an error."""

    def __init__(self, code: str, message: str, **more: object) -> None:
        super().__init__(message)
        self.answer = Answer(400, {"__type": code, "message": message, **more})


class Secret:
    """A secret in Secrets Manager: its versions, and the stages that point at them."""

    def __init__(self, secret_id: str, value: str) -> None:
        self.id = secret_id
        self._versions: dict[str, str] = {}
        self._stages: dict[str, str] = {}
        self.put({"SecretId": secret_id, "SecretString": value})

    def get(self, parameters: Parameters) -> Parameters:
        secret_id, stage = _read(parameters, "SecretId", VersionStage="AWSCURRENT")
        self._check(secret_id)
        if stage not in self._stages:
            raise Refusal("ResourceNotFoundException", f"no value for staging label: {stage}")
        version = self._stages[stage]
        return {
            "ARN": self.id,
            "SecretString": self._versions[version],
            "VersionId": version,
            "VersionStages": [name for name, of in self._stages.items() if of == version],
        }

    def put(self, parameters: Parameters) -> Parameters:
        secret_id, value, stages, _ = _read(
            parameters, "SecretId", "SecretString", VersionStages=["AWSCURRENT"], ClientRequestToken=""
        )
        self._check(secret_id)
        version = str(UUID(int=len(self._versions) + 1))
        self._versions[version] = value
        for stage in stages:
            self._point(stage, version)
        return {"ARN": self.id, "VersionId": version, "VersionStages": stages}

    def move(self, parameters: Parameters) -> Parameters:
        secret_id, stage, to, remove_from = _read(
            parameters, "SecretId", "VersionStage", MoveToVersionId=None, RemoveFromVersionId=None
        )
        self._check(secret_id)
        if self._stages.get(stage) != remove_from:
            raise Refusal("InvalidParameterException", f"{stage} is not attached to version {remove_from}")
        if to is None:
            del self._stages[stage]
        else:
            self._point(stage, to)
        return {"ARN": self.id}

    def _point(self, stage: str, version: str) -> None:
        if stage == "AWSCURRENT" and stage in self._stages:
            self._stages["AWSPREVIOUS"] = self._stages[stage]
        self._stages[stage] = version

    def _check(self, secret_id: str) -> None:
        if secret_id != self.id:
            raise Refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")


# Powertools' expressions: a claim on a delivery, and its record.
CLAIM = (
    "attribute_not_exists(#id) OR #expiry < :now OR "
    "(#status = :inprogress AND attribute_exists(#in_progress_expiry) AND #in_progress_expiry < :now_in_millis)"
)
RECORD = "SET #response_data = :response_data, #expiry = :expiry, #status = :status"


class Table:
    """A DynamoDB table whose key is `id`. Nothing in it expires: DynamoDB may take days for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: dict[str, Item] = {}

    def put(self, parameters: Parameters) -> Parameters:
        name, item, condition, names, values, returned = _read(
            parameters,
            *("TableName", "Item", "ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues"),
            ReturnValuesOnConditionCheckFailure="NONE",
        )
        self._check(name, condition, CLAIM)
        key = item["id"]["S"]
        old = self.items.get(key)
        if old is not None and not _claimable({of: old.get(attribute) for of, attribute in names.items()}, values):
            more = {"Item": old} if returned == "ALL_OLD" else {}
            raise Refusal("ConditionalCheckFailedException", "The conditional request failed", **more)
        self.items[key] = item
        return {}

    def update(self, parameters: Parameters) -> Parameters:
        name, key, expression, names, values = _read(
            parameters,
            *("TableName", "Key", "UpdateExpression", "ExpressionAttributeNames", "ExpressionAttributeValues"),
        )
        self._check(name, expression, RECORD)
        changes = (change.split(" = ") for change in expression.removeprefix("SET ").split(", "))
        old = self.items.get(key["id"]["S"], key)
        self.items[key["id"]["S"]] = {**old, **{names[attribute]: values[value] for attribute, value in changes}}
        return {}

    def delete(self, parameters: Parameters) -> Parameters:
        name, key = _read(parameters, "TableName", "Key")
        self._check(name)
        self.items.pop(key["id"]["S"], None)
        return {}

    def _check(self, name: str, expression: str = "", known: str = "") -> None:
        if name != self.name:
            raise Refusal("ResourceNotFoundException", "Requested resource not found")
        if expression != known:
            raise Refusal("ValidationException", f"this table knows `{known}` only, not `{expression}`")


def _claimable(old: Mapping[str, Any], values: Item) -> bool:
    """CLAIM's truth for an item that exists. `old` maps the expression's names to the item's values."""
    return _less(old["#expiry"], values[":now"]) or (
        old["#status"] == values[":inprogress"] and _less(old["#in_progress_expiry"], values[":now_in_millis"])
    )


def _less(number: Any, other: Any) -> bool:
    return number is not None and int(number["N"]) < int(other["N"])


class Bus:
    """An event bus in EventBridge. It keeps nothing: a middleware sees what comes onto it."""

    MAX_ENTRIES = 10

    def __init__(self, name: str) -> None:
        self.name = name
        self._events = 0

    def put(self, parameters: Parameters) -> Parameters:
        (entries,) = _read(parameters, "Entries")
        if not 1 <= len(entries) <= self.MAX_ENTRIES:
            raise Refusal("ValidationException", f"between 1 and {self.MAX_ENTRIES} entries")
        results = [self._put(entry) for entry in entries]
        return {"FailedEntryCount": sum("ErrorCode" in result for result in results), "Entries": results}

    def _put(self, entry: Parameters) -> Parameters:
        name, _, _, detail, _ = _read(entry, "EventBusName", "Source", "DetailType", "Detail", Time=None)
        if name != self.name:
            raise Refusal("ResourceNotFoundException", f"Event bus {name} does not exist.")
        try:
            json.loads(detail)
        except ValueError:
            return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
        self._events += 1
        return {"EventId": str(UUID(int=self._events))}


def _read(parameters: Parameters, *required: str, **optional: object) -> tuple[Any, ...]:
    """The parameters' values in this order. An unknown one, or a required one that isn't there, is an error."""
    if unknown := parameters.keys() - {*required, *optional}:
        raise Refusal("ValidationException", f"unknown here: {', '.join(sorted(unknown))}")
    if missing := set(required) - parameters.keys():
        raise Refusal("ValidationException", f"missing: {', '.join(sorted(missing))}")
    return (
        *(parameters[name] for name in required),
        *(parameters.get(name, default) for name, default in optional.items()),
    )


def _untouched(call: Call, serve: Serve) -> Answer:
    return serve(call)


class Services:
    """The three services, behind a middleware."""

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
            return refusal.answer

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
    """What a receiver with this environment works with."""
    return Services(
        secret_id=environment["SIGNING_SECRET_ARN"],
        secret=secret,
        table=environment["DELIVERIES_TABLE_NAME"],
        bus=environment["EVENT_BUS_NAME"],
        middleware=middleware,
    )


@contextmanager
def in_thread(services: Services, *, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve from a thread of its own. Gives the port."""
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


async def _main() -> None:
    services = Services(
        secret_id="SigningSecret",  # noqa: S106  # its name
        secret=samples.DEVELOPMENT_SECRET,
        table="DeliveriesTable",
        bus="openai-webhooks",
    )
    server = await http.listen(services.handle)
    print(f"http://{http.LOOPBACK}:{http.port(server)}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell starts a background job with SIGINT ignored
        signal.signal(ending, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        asyncio.run(_main())
