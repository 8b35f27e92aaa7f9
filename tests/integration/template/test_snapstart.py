"""A SnapStart snapshot keeps nothing that a new day, a rotation or another instance makes wrong."""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import botocore.session
import pytest
from botocore.httpsession import URLLib3Session

from openai_webhooks import decode_secret, sign
from openai_webhooks_cli import apigw_event
from openai_webhooks_cli.local.function_process import LambdaContext
from openai_webhooks_cli.local.moto_aws import DeployedStack, MotoAws
from tests.support.templates import RECEIVER, receiver_memory, receiver_timeout

SECRET: Final = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
ROTATED: Final = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
DAY: Final = 86_400
PUBLISHED: Final = (200, {"outcome": "published"})
UNVERIFIED: Final = (401, {"error": "Unverified"})


@dataclass
class Init:
    """What the function's init did."""

    clients: list[Any] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    """URLs of the requests to AWS."""
    clock_readers: list[str] = field(default_factory=list)
    """Modules that read the clock."""


@dataclass
class Snapshot:
    """`receiver.app` after its init and before its first request."""

    app: ModuleType
    init: Init
    secret_arn: str
    monkeypatch: pytest.MonkeyPatch

    def set_clock(self, now: int) -> None:
        self.monkeypatch.setattr(self.app, "time", SimpleNamespace(time=lambda: now))

    def deliver(self, secret: str, webhook_id: str, timestamp: int) -> tuple[int, dict[str, str]]:
        body = b'{"id": "evt_1", "created_at": 1750861210, "type": "response.completed", "data": {"id": "resp_1"}}'
        headers = {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(body, webhook_id=webhook_id, timestamp=timestamp, key=decode_secret(secret)),
        }
        context = LambdaContext(
            function_name="receiver",
            memory_limit_in_mb=receiver_memory(),
            invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:receiver:live",
            aws_request_id="00000000-0000-0000-0000-000000000000",
            deadline=time.monotonic() + receiver_timeout(),
        )
        request = apigw_event.request_event("POST", apigw_event.PATH, headers, body, now=timestamp)
        answer = self.app.handler(request, context)
        return answer["statusCode"], json.loads(answer["body"])


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoAws]:
    aws = MotoAws()
    yield aws
    aws.close()


@pytest.fixture(scope="module")
def stack(aws: MotoAws) -> DeployedStack:
    return aws.deploy(RECEIVER.path, "snapstart")


@pytest.fixture
def snapshot(stack: DeployedStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Snapshot]:
    init = Init()
    create_client = botocore.session.Session.create_client
    read_clock = time.time

    def recorded_client(session: botocore.session.Session, *arguments: Any, **options: Any) -> Any:
        client = create_client(session, *arguments, **options)
        client.meta.events.register("before-send", lambda request, **_: init.requests.append(request.url))
        init.clients.append(client)
        return client

    def recorded_time() -> float:
        if (module := sys._getframe(1).f_globals["__name__"]).startswith("receiver"):
            init.clock_readers.append(module)
        return read_clock()

    # Importing the function changes botocore's TLS for the whole process: undo that after the test.
    for name in ("_get_ssl_context", "_setup_ssl_cert"):
        monkeypatch.setattr(URLLib3Session, name, getattr(URLLib3Session, name))
    monkeypatch.setattr(botocore.session.Session, "create_client", recorded_client)
    monkeypatch.setattr(time, "time", recorded_time)
    for name, value in stack.functions["ReceiverFunction"].environment.items():
        monkeypatch.setenv(name, value)
    for name in receiver_modules():
        monkeypatch.delitem(sys.modules, name)
    app = importlib.import_module("receiver.app")
    yield Snapshot(app, init, stack.secrets["SigningSecret"], monkeypatch)
    for client in init.clients:
        client.close()
    for name in receiver_modules():
        del sys.modules[name]


def test_init_calls_no_service(snapshot: Snapshot) -> None:
    assert snapshot.init.clients
    assert snapshot.init.requests == []


def test_init_reads_no_clock(snapshot: Snapshot) -> None:
    assert snapshot.init.clock_readers == []


def test_old_snapshot_uses_current_secret(aws: MotoAws, snapshot: Snapshot) -> None:
    now = int(time.time()) + DAY
    aws.client("secretsmanager").put_secret_value(SecretId=snapshot.secret_arn, SecretString=ROTATED)
    snapshot.set_clock(now)

    assert snapshot.deliver(SECRET, "wh_old", now) == UNVERIFIED
    assert snapshot.deliver(ROTATED, "wh_new", now) == PUBLISHED
    assert snapshot.deliver(ROTATED, "wh_new", now) == (200, {"outcome": "duplicate"})
    assert snapshot.deliver(ROTATED, "wh_stale", now - DAY) == UNVERIFIED


def test_instance_survives_day_and_rotation(aws: MotoAws, snapshot: Snapshot) -> None:
    now = int(time.time())
    aws.client("secretsmanager").put_secret_value(SecretId=snapshot.secret_arn, SecretString=SECRET)
    snapshot.set_clock(now)

    assert snapshot.deliver(SECRET, "wh_before", now) == PUBLISHED

    aws.client("secretsmanager").put_secret_value(SecretId=snapshot.secret_arn, SecretString=ROTATED)
    snapshot.set_clock(now + DAY)

    assert snapshot.deliver(ROTATED, "wh_after", now + DAY) == PUBLISHED


def receiver_modules() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] == "receiver"]
