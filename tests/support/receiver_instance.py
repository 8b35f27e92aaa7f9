"""An instance of the receiver over clients of AWS that a test controls, and the deliveries that tests send to it."""

import io
import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from types import SimpleNamespace
from typing import Any, Final, Protocol, Self
from uuid import uuid4

import pytest
import time_machine
from aws_lambda_powertools import Logger, Metrics
from botocore.exceptions import ReadTimeoutError

from openai_webhooks import decode_secret, sign
from receiver.bus import EventBus
from receiver.deduplication import Deduplicator, FailOpenPersistence
from receiver.http_api import respond
from receiver.receiver import Receiver
from receiver.rejections import REJECTIONS
from receiver.signing_keys import SigningKeys
from receiver.telemetry import Telemetry
from tests.support.in_memory_aws import InMemoryAws
from tests.support.templates import receiver_environment

# openai-python's published vector: tests/lib/test_webhook_signature.py.
SECRET: Final = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
WEBHOOK_ID: Final = "wh_685c059ae39c8190af8c71ed1022a24d"
EVENT_ID: Final = "evt_685c059ae3a481909bdc86819b066fb6"
NOW: Final = 1750861210
BODY: Final = (
    b'{"id": "evt_685c059ae3a481909bdc86819b066fb6", "object": "event", "created_at": 1750861210, '
    b'"type": "response.completed", "data": {"id": "resp_123"}}'
)

OTHER_SECRET: Final = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
CANARY: Final = "canary-7d1f"
"""In everything that the function must not repeat: payloads, unusable secrets, AWS's messages."""

SECRET_ARN: Final = "arn:aws:secretsmanager:us-east-1:123456789012:secret:SigningSecret-AbCdEf"
ACCEPTED: Final = frozenset(["Published", "Duplicate"])
OUTCOMES: Final = ACCEPTED | {rejection.outcome for rejection in REJECTIONS.values()}

type Hook = Callable[[], object]
"""Called at a call to AWS. If it returns something, that is the answer, as botocore parses it."""


class Clock:
    """The time of this process, in Unix seconds. It moves only when a test moves it."""

    def __init__(self, traveller: time_machine.Traveller, now: float = NOW) -> None:
        self._traveller = traveller
        self.now = now

    def advance(self, seconds: float) -> None:
        self.now = round(self.now + seconds, 3)
        # A datetime, because a float loses the last microsecond.
        self._traveller.move_to(datetime.fromtimestamp(self.now, UTC))


@cache
def environment() -> Mapping[str, str]:
    """Return the function's variables as template.yaml sets them, over in-memory resources."""
    return receiver_environment({"SigningSecret": SECRET_ARN})


def in_memory_aws() -> InMemoryAws:
    """Return an AWS with what the function's variables name."""
    return InMemoryAws(
        secret_id=environment()["SIGNING_SECRET_ARN"],
        secret=SECRET,
        table=environment()["DELIVERIES_TABLE_NAME"],
        bus=environment()["EVENT_BUS_NAME"],
    )


@dataclass(frozen=True)
class LambdaContext:
    """As much of Lambda's context as the function reads."""

    remaining_ms: int = 10_000
    function_name: str = "receiver"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:receiver:live"
    aws_request_id: str = field(default_factory=lambda: str(uuid4()))

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@dataclass(frozen=True)
class Answer:
    """The answer to a delivery, and what the function printed."""

    status: int
    headers: dict[str, str]
    body: dict[str, str]
    metrics: dict[str, float]
    """The sum of each metric that was counted."""
    line: dict[str, Any]
    """The line of the delivery."""
    errors: list[dict[str, Any]]
    """The other lines."""

    @classmethod
    def of(cls, response: dict[str, Any], stdout: str) -> Self:
        *errors, line = [json.loads(text) for text in stdout.splitlines()]
        assert not any("_aws" in error for error in errors)
        return cls(
            status=response["statusCode"],
            headers=response["headers"],
            body=json.loads(response["body"]),
            metrics={
                metric["Name"]: sum(line[metric["Name"]]) for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
            },
            line=line,
            errors=errors,
        )

    @property
    def outcomes(self) -> list[tuple[str, float]]:
        return [(name, count) for name, count in self.metrics.items() if name in OUTCOMES]


@dataclass(frozen=True)
class Call:
    """A call to AWS."""

    operation: str
    parameters: dict[str, Any]


class Aws(Protocol):
    """What a receiver calls: an in-memory AWS, or an emulator behind an endpoint."""

    def client(self, service: Any) -> Any: ...


class ReceiverInstance:
    """An instance of the function, with caches and connections of its own.

    `settings` are the function's variables. A test can fail or answer each of its calls to AWS.
    """

    def __init__(self, aws: Aws, clock: Clock, settings: Mapping[str, str], *, log_level: str = "INFO") -> None:
        self.clock = clock
        self.calls: list[Call] = []
        """Every call to AWS, in order. A call that botocore retries counts once."""
        self.output: list[str] = []
        """Everything that was written to stdout and stderr."""
        self.before: dict[str, Hook] = {}
        """By operation: called before the call is sent."""
        self.after: dict[str, Hook] = {}
        """By operation: called when the call has taken effect."""
        self._aws = aws
        service = settings["POWERTOOLS_SERVICE_NAME"]
        self._logger = Logger(service=service, level=log_level)
        metrics = Metrics(service=service, namespace=settings["POWERTOOLS_METRICS_NAMESPACE"])
        telemetry = Telemetry(metrics, self._logger, lambda: clock.now)
        deduplicator = Deduplicator(
            FailOpenPersistence(
                self._client("dynamodb"),
                table_name=settings["DELIVERIES_TABLE_NAME"],
                on_failure=telemetry.deduplication_unavailable,
            ),
            hours=int(settings["DEDUPLICATION_HOURS"]),
        )
        self.receiver = Receiver(
            signing_keys=SigningKeys(
                self._client("secretsmanager"),
                secret_id=settings["SIGNING_SECRET_ARN"],
                on_failure=telemetry.keys_not_refreshed,
                on_malformed=telemetry.secret_malformed,
            ),
            bus=EventBus(self._client("events"), name=settings["EVENT_BUS_NAME"], source=settings["EVENT_SOURCE"]),
            deduplicator=deduplicator,
            telemetry=telemetry,
            tolerance=int(settings["TIMESTAMP_TOLERANCE_SECONDS"]),
        )

        # As in app.py, which reads the environment and cannot be imported without one.
        def handler(request: dict[str, Any], context: Any) -> dict[str, Any]:
            now = int(clock.now)
            deduplicator.start_invocation(context)
            with telemetry.delivery(context.aws_request_id, now):
                return respond(request, self.receiver, telemetry, now=now)

        self._handler = handler

    def __call__(self, request: dict[str, Any], context: LambdaContext | None = None) -> Answer:
        """Answer a request of API Gateway, in a new invocation unless there is a context."""
        stdout, stderr = io.StringIO(), io.StringIO()
        self._logger.registered_handler.setStream(stdout)  # type: ignore[attr-defined]  # it is a StreamHandler
        try:
            with redirect_stdout(stdout), redirect_stderr(stderr):
                response = self._handler(request, context or LambdaContext())
        finally:
            self.output += [stdout.getvalue(), stderr.getvalue()]
        return Answer.of(response, stdout.getvalue())

    def deliver(self, body: bytes = BODY, *, remaining_ms: int = 10_000, **delivery: Any) -> Answer:
        """Answer a delivery. The other arguments are those of `delivery`."""
        return self(self.delivery(body, **delivery), LambdaContext(remaining_ms))

    def delivery(
        self,
        body: bytes = BODY,
        *,
        webhook_id: str = WEBHOOK_ID,
        secret: str = SECRET,
        sent_at: int | None = None,
        encoded: bool = False,
        headers: Mapping[str, str | None] | None = None,
    ) -> dict[str, Any]:
        """Return a signed delivery as API Gateway passes it. `headers` replaces headers, or removes them with None."""
        timestamp = int(self.clock.now) if sent_at is None else sent_at
        all_headers = {
            "content-type": "application/json",
            "user-agent": "OpenAI/1.0 (+https://platform.openai.com/docs/webhooks)",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(body, webhook_id=webhook_id, timestamp=timestamp, key=decode_secret(secret)),
            **(headers or {}),
        }
        return {
            "version": "2.0",
            "routeKey": "POST /webhooks/openai",
            "rawPath": "/webhooks/openai",
            "rawQueryString": "",
            "headers": {name: value for name, value in all_headers.items() if value is not None},
            "requestContext": {"http": {"method": "POST", "path": "/webhooks/openai"}},
            "body": b64encode(body).decode() if encoded else body.decode(),
            "isBase64Encoded": encoded,
        }

    def called(self, operation: str) -> list[dict[str, Any]]:
        """Return the parameters of each call of an operation."""
        return [call.parameters for call in self.calls if call.operation == operation]

    @property
    def entry(self) -> dict[str, Any]:
        """The entry of the only PutEvents call."""
        [parameters] = self.called("PutEvents")
        [entry] = parameters["Entries"]
        assert isinstance(entry, dict)
        return entry

    def refuse(self, operation: str, code: str = "ThrottlingException", message: str = f"Not with {CANARY}") -> None:
        """From now on, answer the operation with this error."""
        error = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {}}
        self.before[operation] = lambda: (SimpleNamespace(status_code=400), error)

    def answer(self, operation: str, **parsed: object) -> None:
        """From now on, answer the operation with this."""
        self.before[operation] = lambda: (SimpleNamespace(status_code=200), parsed)

    def time_out(self, operation: str) -> None:
        """From now on, let the operation time out without an effect."""
        self.before[operation] = _time_out

    def lose_answer(self, operation: str) -> None:
        """From now on, let the operation take effect and its answer time out."""
        self.after[operation] = _time_out

    def recover(self) -> None:
        """From now on, let every operation work."""
        self.before.clear()
        self.after.clear()

    def crash(self, hooks: dict[str, Hook], operation: str, *, remaining_ms: int = 10_000) -> None:
        """Receive a delivery and be killed `before` or `after` an operation."""
        hooks[operation] = _crash
        with pytest.raises(Killed):
            self.deliver(remaining_ms=remaining_ms)
        self.recover()

    def _client(self, service: str) -> Any:
        client = self._aws.client(service)
        client.meta.events.register_first("before-parameter-build", self._record)
        client.meta.events.register_first("before-call", self._before)
        client.meta.events.register("after-call", self._after)
        return client

    def _record(self, model: Any, params: dict[str, Any], **_: object) -> None:
        self.calls.append(Call(model.name, params))

    def _before(self, model: Any, **_: object) -> Any:
        return self.before.get(model.name, lambda: None)()

    def _after(self, model: Any, **_: object) -> None:
        self.after.get(model.name, lambda: None)()


type Start = Callable[..., ReceiverInstance]
"""Starts an instance of the function. Keyword arguments are environment variables."""


class Killed(BaseException):
    """The end of an instance. No `except Exception` catches it."""


def _crash() -> object:
    raise Killed


def _time_out() -> object:
    raise ReadTimeoutError(endpoint_url="http://127.0.0.1")


def ids(events: list[dict[str, Any]]) -> list[str]:
    """Return OpenAI's ids of events on the bus."""
    return [event["detail"]["id"] for event in events]
