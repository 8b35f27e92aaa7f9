"""A snapshot of the function holds nothing that a day, a rotation or another instance makes wrong."""

import importlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, Final

import botocore.session
import pytest

from openai_webhooks import decode_secret, sign
from webhooks.embedded import Aws, Stack

ROOT: Final = Path(__file__).parents[3]
SECRET: Final = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
ROTATED: Final = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
DAY: Final = 86_400
CONTEXT: Final = SimpleNamespace(
    function_name="receiver",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:receiver:live",
    aws_request_id="00000000-0000-0000-0000-000000000000",
    get_remaining_time_in_millis=lambda: 10_000,
)


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    aws = Aws()
    yield aws
    aws.close()


@pytest.fixture(scope="module")
def stack(aws: Aws) -> Stack:
    return aws.deploy(ROOT / "template.yaml", "snapstart")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The URLs of every request to AWS, from any client made from now on."""
    calls: list[str] = []
    create_client = botocore.session.Session.create_client

    def watched(session: botocore.session.Session, *arguments: Any, **options: Any) -> Any:
        client = create_client(session, *arguments, **options)
        client.meta.events.register("before-send", lambda request, **_: calls.append(request.url))
        return client

    monkeypatch.setattr(botocore.session.Session, "create_client", watched)
    return calls


@pytest.fixture
def snapshot(stack: Stack, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """`receiver.app`, initialized as the deployed function is and not called yet."""
    for name, value in stack.functions["ReceiverFunction"].environment.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in sys.modules if name.split(".")[0] == "receiver"]:
        monkeypatch.delitem(sys.modules, name)
    app = importlib.import_module("receiver.app")
    yield app
    for client in (app.events, app.signing_keys._client, app.deliveries.client):
        client.close()
    for name in [name for name in sys.modules if name.split(".")[0] == "receiver"]:
        del sys.modules[name]


def test_nothing_is_read_at_init(snapshot: ModuleType, calls: list[str]) -> None:
    keys = snapshot.signing_keys

    assert calls == []
    assert (keys._current, keys._others, keys._problem) == ([], [], "")
    assert (keys._due_at, keys._searched_at) == (0, 0)


def test_only_what_the_environment_says_is_kept_at_init(stack: Stack, snapshot: ModuleType) -> None:
    environment = stack.functions["ReceiverFunction"].environment
    kept = {
        name: value
        for name, value in vars(snapshot).items()
        if isinstance(value, int | float | str | bytes) and not name.startswith("__")
    }

    # TYPE_CHECKING is typing's own.
    assert kept == {
        "BUS_NAME": environment["EVENT_BUS_NAME"],
        "SOURCE": environment["EVENT_SOURCE"],
        "TOLERANCE": int(environment["TIMESTAMP_TOLERANCE_SECONDS"]),
        "TYPE_CHECKING": False,
    }


def test_a_snapshot_of_yesterday_serves_under_todays_secret(
    aws: Aws, stack: Stack, snapshot: ModuleType, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = stack.secrets["SigningSecret"]
    now = int(time.time()) + DAY
    aws.client("secretsmanager").put_secret_value(SecretId=secret, SecretString=ROTATED)
    monkeypatch.setattr(snapshot, "time", SimpleNamespace(time=lambda: now))

    assert deliver(snapshot, SECRET, "wh_old", now) == (401, {"error": "Unverified"})
    assert deliver(snapshot, ROTATED, "wh_new", now) == (200, {"outcome": "published"})
    assert deliver(snapshot, ROTATED, "wh_new", now) == (200, {"outcome": "duplicate"})
    assert deliver(snapshot, ROTATED, "wh_stale", now - DAY) == (401, {"error": "Unverified"})
    assert calls


def test_an_instance_goes_on_after_a_day_and_a_rotation(
    aws: Aws, stack: Stack, snapshot: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = stack.secrets["SigningSecret"]
    now = int(time.time())
    clock = SimpleNamespace(time=lambda: now)
    aws.client("secretsmanager").put_secret_value(SecretId=secret, SecretString=SECRET)
    monkeypatch.setattr(snapshot, "time", clock)

    assert deliver(snapshot, SECRET, "wh_before", now) == (200, {"outcome": "published"})

    aws.client("secretsmanager").put_secret_value(SecretId=secret, SecretString=ROTATED)
    now += DAY

    assert deliver(snapshot, ROTATED, "wh_after", now) == (200, {"outcome": "published"})


def deliver(app: ModuleType, secret: str, webhook_id: str, timestamp: int) -> tuple[int, dict[str, str]]:
    body = '{"id": "evt_1", "created_at": 1750861210, "type": "response.completed", "data": {"id": "resp_1"}}'
    signature = sign(body.encode(), webhook_id=webhook_id, timestamp=timestamp, key=decode_secret(secret))
    headers = {"webhook-id": webhook_id, "webhook-timestamp": str(timestamp), "webhook-signature": signature}
    answer = app.handler({"headers": headers, "body": body, "isBase64Encoded": False}, CONTEXT)
    return answer["statusCode"], json.loads(answer["body"])
