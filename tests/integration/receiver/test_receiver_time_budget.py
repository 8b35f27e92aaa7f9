"""OpenAI waits a few seconds: no delivery takes five, whatever hangs."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.receiver.conftest import Gateways, Receiver

BUDGET = 5


@contextmanager
def within(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


def test_every_service_hangs_at_once(receiver_behind_gateways: "Receiver", gateways: "Gateways") -> None:
    """The longest way: known keys, due to be read again, then the claim, then the publish."""
    receiver = receiver_behind_gateways
    receiver.deliver(webhook_id="wh_before")
    receiver.clock.advance(300)
    for gateway in gateways.values():
        gateway.requests = 0
        gateway.fail("hangs")
    with within(BUDGET):
        answer = receiver.deliver()
    assert answer.status == 503
    assert answer.metrics == {"PublishFailed": 1, "DeduplicationUnavailable": 1}
    assert [line["reason"].partition(" ")[0] for line in answer.logs] == ["ReadTimeoutError"] * 3
    assert [gateway.requests for gateway in gateways.values()] == [2, 2, 2]


@pytest.mark.parametrize("service", ["SECRETS_MANAGER", "DYNAMODB", "EVENTBRIDGE"])
def test_a_service_cannot_make_the_function_wait_longer(
    service: str, receiver_behind_gateways: "Receiver", gateways: "Gateways", monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an `x-amz-retry-after`, which botocore would follow for up to 5 s."""
    pauses: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=pauses.append))
    gateways[service].fail("busy")
    receiver_behind_gateways.deliver()
    assert len(pauses) == 1
    assert sum(pauses) <= 1


@pytest.mark.parametrize(
    ("body", "signatures", "status"),
    [
        pytest.param(b'{"type": "x"}', 1_000, 200, id="a thousand signatures"),
        pytest.param(b'{"type": "x", "data": %b1%b}' % (b"[" * 500_000, b"]" * 500_000), 1, 400, id="nesting"),
        pytest.param(b'{"type": "x", "data": {%b"z": 1}}' % (b'"a": 1, ' * 100_000), 1, 200, id="many fields"),
        pytest.param(b'{"type": "x", "data": %b}' % (b"9" * 1_000_000), 1, 400, id="a long number"),
        pytest.param(b"[" * 1_000_000, 1, 400, id="unclosed"),
    ],
)
def test_a_demanding_delivery(body: bytes, signatures: int, status: int, receiver: "Receiver") -> None:
    delivery = receiver.delivery(body)
    delivery["headers"]["webhook-signature"] = (
        "v1,forged " * (signatures - 1) + delivery["headers"]["webhook-signature"]
    )
    with within(BUDGET / 2):
        assert receiver(delivery).status == status
