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
from tests.support.moto_stack import MotoStack, moto_server
from tests.support.receiver_instance import OTHER_SECRET as ROTATED, SECRET, LambdaContext

UNKNOWN: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
DAY: Final = 86_400
PUBLISHED: Final = (200, {"outcome": "published"})
UNVERIFIED: Final = (401, {"error": "Unverified"})
MISMATCH: Final = (401, {"error": "SignatureMismatch"})


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
        answer = self.app.handler({"headers": headers, "body": body.decode()}, LambdaContext())
        return answer["statusCode"], json.loads(answer["body"])


@pytest.fixture(scope="module")
def stack() -> Iterator[MotoStack]:
    with moto_server() as endpoint:
        yield MotoStack(endpoint)


@pytest.fixture
def snapshot(stack: MotoStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Snapshot]:
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
    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    for name in receiver_modules():
        monkeypatch.delitem(sys.modules, name)
    app = importlib.import_module("receiver.app")
    yield Snapshot(app, init, monkeypatch)
    for client in init.clients:
        client.close()
    for name in receiver_modules():
        del sys.modules[name]


def test_init_calls_no_service(snapshot: Snapshot) -> None:
    assert snapshot.init.clients
    assert snapshot.init.requests == []


def test_init_reads_no_clock(snapshot: Snapshot) -> None:
    assert snapshot.init.clock_readers == []


def test_old_snapshot_uses_current_secret(stack: MotoStack, snapshot: Snapshot) -> None:
    now = int(time.time()) + DAY
    stack.store_secret(ROTATED)
    snapshot.set_clock(now)

    assert snapshot.deliver(UNKNOWN, "wh_old", now) == MISMATCH
    assert snapshot.deliver(ROTATED, "wh_new", now) == PUBLISHED
    assert snapshot.deliver(ROTATED, "wh_new", now) == (200, {"outcome": "duplicate"})
    assert snapshot.deliver(ROTATED, "wh_stale", now - DAY) == UNVERIFIED


def test_instance_survives_day_and_rotation(stack: MotoStack, snapshot: Snapshot) -> None:
    now = int(time.time())
    stack.store_secret(SECRET)
    snapshot.set_clock(now)

    assert snapshot.deliver(SECRET, "wh_before", now) == PUBLISHED

    stack.store_secret(ROTATED)
    snapshot.set_clock(now + DAY)

    assert snapshot.deliver(ROTATED, "wh_after", now + DAY) == PUBLISHED


def receiver_modules() -> list[str]:
    return [name for name in sys.modules if name.split(".")[0] == "receiver"]
