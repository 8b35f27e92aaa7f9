"""Instances of the function, started as Lambda starts them, against a moto server; and all the ways a delivery can go.

Test modules take types from here, for annotations only; everything else comes through fixtures.
"""

import gc
import http.client
import importlib
import io
import json
import logging
import os
import re
import socket
import struct
import sys
import threading
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, Self, cast
from uuid import uuid4

import boto3
import pytest
from aws_lambda_powertools.logging.filters import SuppressFilter
from aws_lambda_powertools.utilities.idempotency import base as idempotency
from aws_lambda_powertools.utilities.idempotency.persistence import (
    base as persistence,
    datarecord,
    dynamodb as persistence_in_dynamodb,
)
from botocore.exceptions import ReadTimeoutError
from moto import backends
from moto.server import ThreadedMotoServer

from openai_webhooks import decode_secret, sign

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import TargetTypeDef
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sqs import SQSClient

# openai-python's published vector: tests/lib/test_webhook_signature.py.
SECRET: Final = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
WEBHOOK_ID: Final = "wh_685c059ae39c8190af8c71ed1022a24d"
NOW: Final = 1750861210
BODY: Final = (
    b'{"id": "evt_685c059ae3a481909bdc86819b066fb6", "object": "event", "created_at": 1750861210, '
    b'"type": "response.completed", "data": {"id": "resp_123"}}'
)

OTHER_SECRET: Final = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
CANARY: Final = "canary-7d1f"
"""In whatever the function must not repeat: payloads, unusable secrets, AWS's messages."""

OUTCOMES: Final = frozenset(
    {
        "Published",
        "Duplicate",
        "Malformed",
        "Unverified",
        "InProgress",
        "TooLarge",
        "PublishFailed",
        "NotConfigured",
    }
)

type Hook = Callable[[], object]
"""Called where a call to AWS is made. What it returns, unless None, is the answer, as botocore parses it."""


class Clock:
    """The time for the function and for Powertools' records. It moves when it is told to, in seconds."""

    def __init__(self) -> None:
        self.now: float = NOW

    def advance(self, seconds: float) -> None:
        self.now += seconds

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()

    class Datetime(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Self:
            return cls.fromtimestamp(clock.now, tz)

    for module in (idempotency, persistence, datarecord, persistence_in_dynamodb):
        monkeypatch.setattr(module, "dt", SimpleNamespace(datetime=Datetime, timedelta=timedelta))
    return clock


@dataclass(frozen=True)
class Context:
    """As much of Lambda's context as the function reads."""

    remaining_ms: int = 10_000
    function_name: str = "receiver"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:receiver:live"
    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@dataclass(frozen=True)
class Answer:
    """What a delivery gets, and what it leaves on stdout."""

    status: int
    headers: dict[str, str]
    body: dict[str, str]
    metrics: dict[str, float]
    """Each metric that was counted, with its sum."""
    emf: list[dict[str, Any]]
    logs: list[dict[str, Any]]

    @classmethod
    def of(cls, response: dict[str, Any], stdout: str) -> Self:
        lines = [json.loads(line) for line in stdout.splitlines()]
        emf = [line for line in lines if "_aws" in line]
        return cls(
            status=response["statusCode"],
            headers=response["headers"],
            body=json.loads(response["body"]),
            metrics={
                metric["Name"]: sum(line[metric["Name"]])
                for line in emf
                for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"]
            },
            emf=emf,
            logs=[line for line in lines if "_aws" not in line],
        )

    @property
    def outcomes(self) -> list[tuple[str, float]]:
        return [(name, count) for name, count in self.metrics.items() if name in OUTCOMES]

    @property
    def log(self) -> dict[str, Any]:
        """The line that says the outcome: the last one."""
        return self.logs[-1]


@dataclass(frozen=True)
class Call:
    operation: str
    parameters: dict[str, Any]


@dataclass
class Receiver:
    """An instance of the function: `receiver.app` freshly imported, with caches and connections of its own."""

    app: ModuleType
    clock: Clock
    calls: list[Call] = field(default_factory=list)
    """Every call to AWS, in order; one that botocore retries counts once."""
    output: list[str] = field(default_factory=list)
    """All that was written to stdout and stderr."""
    before: dict[str, Hook] = field(default_factory=dict)
    """By operation: before it is sent."""
    after: dict[str, Hook] = field(default_factory=dict)
    """By operation: once it has taken place."""

    def __call__(self, event: dict[str, Any], *, remaining_ms: int = 10_000) -> Answer:
        stdout, stderr = io.StringIO(), io.StringIO()
        self.app.logger.registered_handler.setStream(stdout)
        try:
            with redirect_stdout(stdout), redirect_stderr(stderr):
                response = self.app.handler(event, Context(remaining_ms))
        finally:
            self.output += [stdout.getvalue(), stderr.getvalue()]
        return Answer.of(response, stdout.getvalue())

    def deliver(self, body: bytes = BODY, *, remaining_ms: int = 10_000, **delivery: Any) -> Answer:
        return self(self.delivery(body, **delivery), remaining_ms=remaining_ms)

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
        """A signed delivery as API Gateway passes it, some of its `headers` replaced or, by None, removed."""
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
        """The parameters of each call of an operation."""
        return [call.parameters for call in self.calls if call.operation == operation]

    @property
    def entry(self) -> dict[str, Any]:
        """The entry of the one PutEvents that was called."""
        [parameters] = self.called("PutEvents")
        [entry] = parameters["Entries"]
        assert isinstance(entry, dict)
        return entry

    def record(self, model: Any, params: dict[str, Any], **_: object) -> None:
        self.calls.append(Call(model.name, params))

    def go_ahead(self, model: Any, **_: object) -> Any:
        return self.before.get(model.name, lambda: None)()

    def come_back(self, model: Any, **_: object) -> None:
        self.after.get(model.name, lambda: None)()

    def refuse(self, operation: str, code: str = "ThrottlingException") -> None:
        """From now on AWS answers the operation with this error."""
        error = {"Error": {"Code": code, "Message": f"Not with {CANARY}"}, "ResponseMetadata": {}}
        self.before[operation] = lambda: (SimpleNamespace(status_code=400), error)

    def answer(self, operation: str, **parsed: object) -> None:
        """From now on AWS answers the operation with this."""
        self.before[operation] = lambda: (SimpleNamespace(status_code=200), parsed)

    def time_out(self, operation: str) -> None:
        """From now on the operation doesn't reach AWS."""
        self.before[operation] = _time_out

    def lose_answer(self, operation: str) -> None:
        """From now on the operation takes place, but its answer doesn't arrive."""
        self.after[operation] = _time_out

    def recover(self) -> None:
        self.before.clear()
        self.after.clear()

    def crash(self, hooks: dict[str, Hook], operation: str, *, remaining_ms: int = 10_000) -> None:
        """Take a delivery and be killed `before` or `after` an operation."""
        hooks[operation] = _crash
        with pytest.raises(Killed), pytest.warns(UserWarning, match="No application metrics"):
            self.deliver(remaining_ms=remaining_ms)
        self.recover()


def _time_out() -> object:
    raise ReadTimeoutError(endpoint_url="http://127.0.0.1")


class Killed(BaseException):
    """The end of an instance: no `except Exception` sees it."""


def _crash() -> object:
    raise Killed


@dataclass(frozen=True)
class Stack:
    """What the function works with: a bus with a rule that feeds a queue, a table, a secret."""

    events: "EventBridgeClient"
    sqs: "SQSClient"
    dynamodb: "DynamoDBClient"
    secretsmanager: "SecretsManagerClient"
    endpoint: str
    bus: str = "openai"
    queue_url: str = ""
    table: str = ""
    secret_arn: str = ""

    def arrived(self) -> list[dict[str, Any]]:
        """The events that reached the bus since the last look at it."""
        received = self.sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10).get("Messages", [])
        events = [json.loads(message["Body"]) for message in received]
        return events + self.arrived() if len(received) == 10 else events

    def records(self) -> list[dict[str, Any]]:
        """What the deliveries table holds, without DynamoDB's type tags."""
        items = self.dynamodb.scan(TableName=self.table)["Items"]
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in items]

    def store(self, secret: str, *stages: str) -> str:
        """Put a version of the secret under the stages, AWSCURRENT by default. Returns the version's id."""
        stored = self.secretsmanager.put_secret_value(
            SecretId=self.secret_arn, SecretString=secret, VersionStages=stages or ("AWSCURRENT",)
        )
        return stored["VersionId"]

    def add_bus(self, name: str, pattern: str = '{"account": ["123456789012"]}', **target: Any) -> str:
        """A bus with a rule that feeds the queue with what matches the pattern. Returns its name."""
        self.events.create_event_bus(Name=name)
        self.events.put_rule(EventBusName=name, Name=name, EventPattern=pattern)
        queue = {"Id": "arrived", "Arn": "arn:aws:sqs:us-east-1:123456789012:arrived"}
        self.events.put_targets(EventBusName=name, Rule=name, Targets=[cast("TargetTypeDef", queue | target)])
        return name

    @property
    def environment(self) -> dict[str, str]:
        """The function's variables, as template.yaml sets them."""
        return {
            "EVENT_BUS_NAME": self.bus,
            "EVENT_SOURCE": "openai.com",
            "SIGNING_SECRET_ARN": self.secret_arn,
            "DELIVERIES_TABLE_NAME": self.table,
            "DEDUPLICATION_HOURS": "96",
            "TIMESTAMP_TOLERANCE_SECONDS": "300",
            "POWERTOOLS_SERVICE_NAME": "receiver",
            "POWERTOOLS_METRICS_NAMESPACE": "openai-webhooks",
            "POWERTOOLS_LOG_LEVEL": "INFO",
            "AWS_ENDPOINT_URL": self.endpoint,
            # Lambda's own.
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_SESSION_TOKEN": "testing",
            "AWS_LAMBDA_FUNCTION_NAME": "receiver",
            "AWS_LAMBDA_FUNCTION_VERSION": "1",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
        }


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """Its URL."""
    # It runs in this process: without this, its requests would stand among the function's own logs.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    # It would look through its own directory for each of them.
    modules = list(backends.list_of_moto_modules())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backends, "list_of_moto_modules", lambda: modules)
        server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        server.start()
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
        server.stop()


@pytest.fixture(scope="session")
def session() -> boto3.Session:
    return boto3.Session("testing", "testing", "testing", "us-east-1")


@pytest.fixture(scope="session")
def clients(moto_server: str, session: boto3.Session) -> Iterator[Stack]:
    with (
        closing(session.client("events", endpoint_url=moto_server)) as events,
        closing(session.client("sqs", endpoint_url=moto_server)) as sqs,
        closing(session.client("dynamodb", endpoint_url=moto_server)) as dynamodb,
        closing(session.client("secretsmanager", endpoint_url=moto_server)) as secretsmanager,
    ):
        # What all of this has made stays: each collection of garbage would walk through it again.
        gc.collect()
        gc.freeze()
        yield Stack(events, sqs, dynamodb, secretsmanager, moto_server)
        gc.unfreeze()


@pytest.fixture(scope="module")
def shared_stack(clients: Stack) -> Iterator[Stack]:
    """A bus and what feeds on it. All moto servers of a process share one AWS, which is left empty."""
    reset = urllib.request.Request(f"{clients.endpoint}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()
    # What was received once is out of sight for good, or for 12 hours.
    queue = clients.sqs.create_queue(QueueName="arrived", Attributes={"VisibilityTimeout": "43200"})
    stack = replace(clients, queue_url=queue["QueueUrl"])
    stack.add_bus(stack.bus)
    yield stack
    urllib.request.urlopen(reset).close()


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """A stack with nothing on its bus, a table of its own and a secret of its own."""
    name = f"test-{uuid4()}"
    shared_stack.dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )
    secret_arn = shared_stack.secretsmanager.create_secret(Name=name, SecretString=SECRET)["ARN"]
    yield replace(shared_stack, table=name, secret_arn=secret_arn)
    shared_stack.arrived()


type Start = Callable[..., Receiver]
"""Starts an instance of the function. Keyword arguments are environment variables."""


@pytest.fixture
def start(stack: Stack, clock: Clock, session: boto3.Session, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    # Nothing of the developer's own configuration.
    for name in [name for name in os.environ if re.match("AWS_|POWERTOOLS_", name)]:
        monkeypatch.delenv(name)

    with ExitStack() as connections:

        def start(**environment: str) -> Receiver:
            receiver = Receiver(ModuleType("receiver.app"), clock)

            def client(service: Any, **settings: Any) -> Any:
                client = connections.enter_context(closing(session.client(service, **settings)))
                client.meta.events.register("before-parameter-build", receiver.record)
                client.meta.events.register("before-call", receiver.go_ahead)
                client.meta.events.register("after-call", receiver.come_back)
                return client

            for name, value in (stack.environment | environment).items():
                monkeypatch.setenv(name, value)
            monkeypatch.setattr(boto3, "client", client)
            _forget_receiver()
            receiver.app = importlib.import_module("receiver.app")
            monkeypatch.setattr(receiver.app, "time", clock)
            return receiver

        yield start
    _forget_receiver()


def _forget_receiver() -> None:
    for name in [name for name in sys.modules if re.match(r"receiver(\.|$)", name)]:
        del sys.modules[name]
    # A logger outlives its module, and Powertools configures one only once, the root logger's handlers included.
    logging.Logger.manager.loggerDict.pop("receiver", None)
    for handler in logging.root.handlers:
        handler.filters = [suppress for suppress in handler.filters if not isinstance(suppress, SuppressFilter)]


@pytest.fixture
def receiver(start: Start) -> Receiver:
    return start()


@dataclass(frozen=True)
class Scenario:
    """A delivery, what it meets, and what must become of it."""

    name: str
    status: int
    outcome: str
    reason: str | None = None
    """A pattern that the log's reason matches."""
    retry_after: str | None = None
    on_bus: bool = False
    warned: str | None = None
    """The other metric that the delivery counts."""
    warning: str = ""
    """A pattern that the line logged with it matches."""
    delivery: Mapping[str, Any] = field(default_factory=dict)
    event: dict[str, Any] | None = None
    """What Lambda is called with, where it isn't a delivery."""
    meets: Callable[[Receiver, Stack], object] = lambda _receiver, _stack: None
    environment: Mapping[str, str] = field(default_factory=dict)


def _grow_old(receiver: Receiver, stack: Stack) -> None:
    """Learn the keys, then find Secrets Manager failing when it is time to read them again."""
    receiver.deliver(webhook_id="wh_before")
    stack.arrived()
    receiver.clock.advance(300)
    receiver.refuse("GetSecretValue")


def _fail_to_release(receiver: Receiver, _stack: Stack) -> None:
    receiver.refuse("PutEvents", "InternalException")
    receiver.refuse("DeleteItem", "InternalServerError")


MIB: Final = 1024 * 1024
TYPE_OF_LARGE: Final = "large.event"
# 14 bytes for Time, and the Source that stack.environment sets.
LARGEST: Final = MIB - 14 - len("openai.com") - len(TYPE_OF_LARGE)


def event_of_size(size: int) -> bytes:
    """An event of this many bytes."""
    start, end = b'{"type": "%b", "data": "' % TYPE_OF_LARGE.encode(), b'"}'
    return start + b"x" * (size - len(start) - len(end)) + end


_MALFORMED: list[tuple[str, bytes, str]] = [
    ("not JSON", b"canary-7d1f", "not strict JSON"),
    ("empty", b"", "not strict JSON"),
    ("not UTF-8", b'{"type": "x", "data": "canary-7d1f\xff"}', "not strict JSON"),
    ("a lone surrogate", b'{"type": "x", "data": "canary-7d1f\\ud800"}', "not strict JSON"),
    ("deeply nested", b'{"type": "x", "data": %b1%b}' % (b"[" * 10_000, b"]" * 10_000), "not strict JSON"),
    ("a list", b'["canary-7d1f"]', "not an object with a `type`"),
    ("without a type", b'{"data": "canary-7d1f"}', "not an object with a `type`"),
    ("a type of 129 characters", b'{"type": "canary-7d1f%b"}' % (b"x" * 118), "not an object with a `type`"),
]

_DRIFTED: list[tuple[str, bytes]] = [
    ("by its values", b'{"type": "response.completed", "created_at": "canary-7d1f", "data": {"id": ["canary-7d1f"]}}'),
    ("by its names", b'{"type": "batch.failed", "canary-7d1f": 1, "data": {"canary-7d1f": {"canary-7d1f": 1}}}'),
    (
        "in a list",
        b'{"type": "realtime.call.incoming", "id": "evt_1", "created_at": 1, "data": {"call_id": "rtc_1", '
        b'"sip_headers": [{"canary-7d1f": "canary-7d1f"}], "sip_media_security": {"canary-7d1f": "canary-7d1f"}}}',
    ),
    (
        "in a choice of words",
        b'{"type": "agent.session.action_required", "id": "evt_1", "object": "canary-7d1f", "created_at": 1, '
        b'"data": {"id": "sess_1", "required_action": {"type": "canary-7d1f", "canary-7d1f": 1}}}',
    ),
]

_UNVERIFIED: list[tuple[str, str, dict[str, Any]]] = [
    ("another secret's", "no active signing secret matches", {"secret": OTHER_SECRET}),
    ("another delivery's", "no active signing secret matches", {"headers": {"webhook-id": "wh_other"}}),
    ("too old", "more than 300 s", {"sent_at": NOW - 301}),
    ("without an id", "webhook-id is missing", {"headers": {"webhook-id": None}}),
    ("without a timestamp", "webhook-timestamp is missing", {"headers": {"webhook-timestamp": None}}),
    ("not in Unix seconds", "not in Unix seconds", {"headers": {"webhook-timestamp": "2025-06-25T14:20:10Z"}}),
    ("without a signature", "webhook-signature is missing", {"headers": {"webhook-signature": None}}),
    ("of another scheme", "holds no v1 signature", {"headers": {"webhook-signature": "v1a,canary-7d1f"}}),
    ("not ASCII", "no active signing secret matches", {"headers": {"webhook-signature": "v1,canary-7d1f-é"}}),
]

_NO_DELIVERY: list[tuple[str, dict[str, Any]]] = [
    ("an empty event", {}),
    ("the console's test event", {"key1": CANARY, "key2": "value2", "key3": "value3"}),
    ("no headers", {"version": "2.0", "body": f'{{"type": "{CANARY}"}}', "isBase64Encoded": False}),
    ("null for headers and body", {"headers": None, "body": None}),
]

_PUBLISH_FAILED: list[tuple[str, str, Callable[[Receiver, Stack], object]]] = [
    ("throttled", "^ThrottlingException from", lambda receiver, _: receiver.refuse("PutEvents")),
    ("denied", "^AccessDenied from", lambda receiver, _: receiver.refuse("PutEvents", "AccessDenied")),
    ("timed out", r"^ReadTimeoutError \(http://127.0.0.1\) from", lambda receiver, _: receiver.time_out("PutEvents")),
    (
        "the entry refused",
        "^MalformedDetail from",
        lambda receiver, _: receiver.answer(
            "PutEvents", FailedEntryCount=1, Entries=[{"ErrorCode": "MalformedDetail", "ErrorMessage": CANARY}]
        ),
    ),
    (
        "neither taken nor refused",
        "^no EventId from",
        lambda receiver, _: receiver.answer("PutEvents", FailedEntryCount=0, Entries=[{}]),
    ),
]

_STORE: Final = "aws secretsmanager put-secret-value --secret-id arn:aws:secretsmanager:us-east-1:123456789012:secret:"
_CHECK: Final = "may secretsmanager:GetSecretValue on arn:aws:secretsmanager:us-east-1:123456789012:secret:"

_NOT_CONFIGURED: list[tuple[str, str, Callable[[Receiver, Stack], object]]] = [
    (
        "the stack's placeholder",
        f"does not start with `whsec_`.*{_STORE}",
        lambda _, stack: stack.store("Placeholder until the signing secret is stored."),
    ),
    ("white space", f"the secret is empty.*{_STORE}", lambda _, stack: stack.store(" \n")),
    ("an unusable secret", f"not base64 of 24 to 64.*{_STORE}", lambda _, stack: stack.store(f"whsec_{CANARY}")),
    ("pasted with v1", f"starts with `v1,`.*{_STORE}", lambda _, stack: stack.store(f"v1,{SECRET}")),
    (
        "one of two unusable",
        f"does not start with `whsec_`.*{_STORE}",
        lambda _, stack: stack.store(f"{SECRET} {CANARY}"),
    ),
    (
        "there is no secret",
        f"^ResourceNotFoundException from Secrets Manager.*{_CHECK}",
        lambda _, stack: stack.secretsmanager.delete_secret(SecretId=stack.secret_arn, ForceDeleteWithoutRecovery=True),
    ),
    (
        "denied",
        f"^AccessDeniedException from Secrets Manager.*{_CHECK}",
        lambda receiver, _: receiver.refuse("GetSecretValue", "AccessDeniedException"),
    ),
    (
        "timed out",
        rf"^ReadTimeoutError \(http://127.0.0.1\) from Secrets Manager.*{_CHECK}",
        lambda receiver, _: receiver.time_out("GetSecretValue"),
    ),
]

SCENARIOS: Final = [
    Scenario("published", 200, "Published", on_bus=True),
    Scenario("published, from a base64 body", 200, "Published", on_bus=True, delivery={"encoded": True}),
    Scenario(
        "published, of an unknown type",
        200,
        "Published",
        on_bus=True,
        delivery={"body": b'{"type": "response.dreamt", "data": "canary-7d1f"}'},
    ),
    *(
        Scenario(
            f"published, departing from its type's schema {where}",
            200,
            "Published",
            on_bus=True,
            warned="SchemaDrift",
            warning="departs from its type's schema",
            delivery={"body": body},
        )
        for where, body in _DRIFTED
    ),
    Scenario(
        "published, though the table refuses the claim",
        200,
        "Published",
        on_bus=True,
        warned="DeduplicationUnavailable",
        warning="deliveries table failed",
        meets=lambda receiver, _: receiver.refuse("PutItem"),
    ),
    Scenario(
        "published, though there is no table",
        200,
        "Published",
        on_bus=True,
        warned="DeduplicationUnavailable",
        warning="deliveries table failed",
        environment={"DELIVERIES_TABLE_NAME": "nowhere"},
    ),
    Scenario(
        "published, though the record can't be written",
        200,
        "Published",
        on_bus=True,
        warned="DeduplicationUnavailable",
        warning="deliveries table failed",
        meets=lambda receiver, _: receiver.time_out("UpdateItem"),
    ),
    Scenario("published, though the keys can't be read again", 200, "Published", on_bus=True, meets=_grow_old),
    Scenario("duplicate", 200, "Duplicate", on_bus=True, meets=lambda receiver, _: receiver.deliver()),
    *(
        Scenario(f"malformed, {name}", 400, "Malformed", reason, delivery={"body": body, "encoded": True})
        for name, body, reason in _MALFORMED
    ),
    *(
        Scenario(f"unverified, {name}", 401, "Unverified", reason, delivery=delivery)
        for name, reason, delivery in _UNVERIFIED
    ),
    *(
        Scenario(f"unverified, {name}", 401, "Unverified", "webhook-id is missing", event=event)
        for name, event in _NO_DELIVERY
    ),
    Scenario(
        "in progress",
        409,
        "InProgress",
        "another copy of this delivery is being published",
        "10",
        meets=lambda receiver, _: receiver.crash(receiver.before, "PutEvents"),
    ),
    Scenario(
        "too large, the body",
        413,
        "TooLarge",
        "the body has 1048577 bytes, an event bus takes 1048576",
        delivery={"body": event_of_size(MIB + 1)},
    ),
    Scenario(
        "too large, the entry by a byte",
        413,
        "TooLarge",
        "does not fit into the 1048576 bytes of an event bus entry",
        delivery={"body": event_of_size(LARGEST + 1)},
    ),
    *(
        Scenario(f"publish failed, {name}", 503, "PublishFailed", reason, "5", meets=meets)
        for name, reason, meets in _PUBLISH_FAILED
    ),
    Scenario(
        "publish failed, there is no such bus",
        503,
        "PublishFailed",
        "^ResourceNotFoundException from PutEvents on bus nowhere: .*check that the bus exists",
        "5",
        environment={"EVENT_BUS_NAME": "nowhere"},
    ),
    Scenario(
        "publish failed, and the claim can't be released",
        503,
        "PublishFailed",
        "^InternalException from",
        "5",
        warned="DeduplicationUnavailable",
        warning="deliveries table failed",
        meets=_fail_to_release,
    ),
    *(
        Scenario(
            f"not configured, {name}",
            503,
            "NotConfigured",
            reason,
            "30",
            meets=meets,
        )
        for name, reason, meets in _NOT_CONFIGURED
    ),
]


@dataclass(frozen=True)
class Played:
    """A scenario, and what became of it. Log level DEBUG."""

    scenario: Scenario
    event: dict[str, Any]
    answer: Answer
    operations: list[str]
    """What AWS was called for, in order, with what the scenario did beforehand."""
    arrived: list[dict[str, Any]]
    records: list[dict[str, Any]]
    stderr: str
    written: str
    """All that any logger of the process and the function itself have written, but for the AWS that runs in it."""
    raised: BaseException | None
    """What the handler turned into a status."""


_played: dict[str, Played] = {}


@pytest.fixture(params=[pytest.param(scenario, id=scenario.name) for scenario in SCENARIOS])
def played(request: pytest.FixtureRequest) -> Played:
    """Each scenario, once: the tests look at it from different sides."""
    scenario = request.param
    assert isinstance(scenario, Scenario)
    if scenario.name not in _played:
        # The logs last: what it takes to set the others up is none of the function's.
        fixtures = [request.getfixturevalue(name) for name in ("stack", "start", "every_log")]
        _played[scenario.name] = _play(scenario, *fixtures)
    return _played[scenario.name]


def _play(scenario: Scenario, stack: Stack, start: Start, every_log: list[logging.LogRecord]) -> Played:
    receiver = start(POWERTOOLS_LOG_LEVEL="DEBUG", **scenario.environment)
    scenario.meets(receiver, stack)
    event = receiver.delivery(**scenario.delivery) if scenario.event is None else scenario.event
    raised: list[BaseException] = []
    receive = receiver.app.receive

    def receive_and_tell(*args: Any, **kwargs: Any) -> str:
        try:
            return str(receive(*args, **kwargs))
        except BaseException as error:
            raised.append(error)
            raise

    receiver.app.__dict__["receive"] = receive_and_tell
    answer = receiver(event)
    assert receiver.app.logger.isEnabledFor(logging.DEBUG)
    return Played(
        scenario=scenario,
        event=event,
        answer=answer,
        operations=[call.operation for call in receiver.calls],
        arrived=stack.arrived(),
        records=stack.records(),
        stderr=receiver.output[-1],
        written="\n".join(
            [
                *receiver.output,
                *map(logging.Formatter().format, every_log),
                *(repr(record.__dict__) for record in every_log),
            ]
        ),
        raised=next(iter(raised), None),
    )


@pytest.fixture
def every_log() -> Iterator[list[logging.LogRecord]]:
    """Every record of every logger of this process, at any level, but for those of the AWS that runs in it."""
    records: list[logging.LogRecord] = []

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record)

    collector = Collector()
    collector.addFilter(lambda record: not record.name.startswith(("moto", "werkzeug")))
    root = logging.getLogger()
    loggers = [root, *map(logging.getLogger, ("botocore", "boto3", "urllib3", "aws_lambda_powertools"))]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        # As in a new process, but for the developer who wants to see it all.
        logger.setLevel(logging.DEBUG if logger is root else logging.NOTSET)
        logger.propagate = True
    root.addHandler(collector)
    yield records
    root.removeHandler(collector)
    for logger, level, propagate in before:
        logger.setLevel(level)
        logger.propagate = propagate


class Gateway(ThreadingHTTPServer):
    """Stands between the function and AWS: passes requests on, or fails as a service or the network fails."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.target = target.removeprefix("http://")
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests = 0
        self.fault = ""
        self._released = threading.Event()
        self._serve()

    def fail(self, fault: str) -> None:
        """From now on, or with ` once` behind the fault's name for the next request only."""
        self.fault = fault
        self._released.clear()
        if fault == "refused":
            self.close()

    def recover(self) -> None:
        if self.fault == "refused":
            self.socket = socket.socket()
            self.server_bind()
            self.server_activate()
            self._serve()
        self.fault = ""
        self._released.set()

    def close(self) -> None:
        self._released.set()
        self.shutdown()
        self.server_close()

    def hang(self) -> None:
        self._released.wait()

    def shutdown_request(self, request: Any) -> None:
        # Without the orderly end that the base class sends first: a reset must stay one.
        self.close_request(request)

    def _serve(self) -> None:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


class _Relay(BaseHTTPRequestHandler):
    # HTTP/1.0, a connection for each request, so that a fault applies from the next request on.
    server: Gateway

    ERRORS: Final = {
        "throttled": (400, "application/x-amz-json-1.0", b'{"__type": "ThrottlingException", "message": "Slow down"}'),
        "error 500": (500, "application/x-amz-json-1.0", b'{"__type": "InternalFailure"}'),
        "busy": (503, "application/x-amz-json-1.0", b'{"__type": "ServiceUnavailable"}'),
        "bad gateway": (502, "text/html", b"<html><body>Bad Gateway</body></html>"),
    }

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests += 1
        fault, once, _ = self.server.fault.partition(" once")
        if once:
            self.server.fault = ""
        if fault in self.ERRORS:
            self._answer(*self.ERRORS[fault])
        elif fault == "hangs":
            self.server.hang()
        elif fault == "reset":
            self._reset()
        else:
            status, content_type, answer = self._pass_on(body)
            if fault == "answer lost":
                self._reset()
            else:
                self._answer(status, content_type, answer)

    def _pass_on(self, body: bytes) -> tuple[int, str, bytes]:
        with closing(http.client.HTTPConnection(self.server.target)) as connection:
            connection.request("POST", self.path, body, dict(self.headers))
            response = connection.getresponse()
            return response.status, response.headers["content-type"], response.read()

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        if status == 503:
            self.send_header("x-amz-retry-after", "5000")  # milliseconds
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
        pass


type Gateways = dict[str, Gateway]


@pytest.fixture
def gateways(stack: Stack) -> Iterator[Gateways]:
    """One in front of each service, under the service's name in `AWS_ENDPOINT_URL_…`."""
    gateways = {service: Gateway(stack.endpoint) for service in ("SECRETS_MANAGER", "DYNAMODB", "EVENTBRIDGE")}
    yield gateways
    for gateway in gateways.values():
        gateway.recover()
        gateway.close()


@pytest.fixture
def receiver_behind_gateways(start: Start, gateways: Gateways) -> Receiver:
    return start(**{f"AWS_ENDPOINT_URL_{service}": gateway.url for service, gateway in gateways.items()})
