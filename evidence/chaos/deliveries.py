"""What is sent: OpenAI's deliveries, and requests that must not reach the bus."""

import json
from base64 import b64encode
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from evidence.chaos.seeded_random import Draw, pick
from openai_webhooks import CATALOG
from openai_webhooks_cli import apigw_event, samples

TYPES: Final = (*CATALOG, "dream.completed")  # The last one is not known yet.
SAME_BODY: Final = 0.04
"""Share of deliveries with the same body as the one before. The dashboard's test events are like that."""
INTRUDERS: Final = {"forged": 0.02, "tampered": 0.02, "stale": 0.02, "unsigned": 0.02, "malformed": 0.02}
"""Shares of deliveries that are followed by a request that is not from OpenAI, not recent, or not an event."""

OLD_SECRET, NEW_SECRET, FORGERS_SECRET = (
    "whsec_" + b64encode(key).decode()
    for key in (
        b"old-secret-old-secret-old-secret",
        b"new-secret-new-secret-new-secret",
        b"forger-forger-forger-forger-forg",
    )
)


class Delivery(NamedTuple):
    webhook_id: str
    body: bytes
    due: float
    """When it is first sent, in Unix seconds."""
    intruder: str = ""
    """Why it must not reach the bus. "" if it must."""


def deliveries(count: int, draw: Draw, *, bursts: list[float]) -> Iterator[Delivery]:
    """Return `count` deliveries of OpenAI, distributed evenly over the times in `bursts`, and intruders among them."""
    body = b""
    for number in range(count):
        due = bursts[number * len(bursts) // count]
        if not body or draw("same body", number) >= SAME_BODY:
            body = _event(number, draw, created_at=int(due))
        delivery = Delivery(f"wh_{number:032x}", body, due)
        yield delivery
        if kind := pick(INTRUDERS, draw("intruder", number)):
            yield _intruder(delivery, kind, number)


def forgeries(count: int, draw: Draw, *, begin: float, seconds: int) -> Iterator[Delivery]:
    """Return forged deliveries: `count` in each of `seconds` seconds from `begin`, in Unix seconds."""
    body = _event(0, draw, created_at=int(begin))
    for second in range(seconds):
        for number in range(count):
            yield Delivery(f"wh_flood_{second:x}_{number:x}", body, begin + second, "forged")


def _event(number: int, draw: Draw, *, created_at: int) -> bytes:
    event_type = TYPES[int(draw("type", number) * len(TYPES))]
    return samples.encode(samples.sample(event_type, created_at=created_at, event_id=f"evt_{number:032x}"))


def _intruder(delivery: Delivery, kind: str, number: int) -> Delivery:
    event = json.loads(delivery.body) | {"id": f"evt_{kind}_{number:x}"}
    body = samples.encode(event)
    if kind == "tampered":
        return delivery._replace(body=body, intruder=kind)
    return Delivery(f"wh_{kind}_{number:x}", body[:-1] if kind == "malformed" else body, delivery.due, kind)


def request(delivery: Delivery, *, secrets: Sequence[str], now: int) -> bytes:
    """Return API Gateway's event for a delivery that is sent now and signed with each of `secrets`."""
    if delivery.intruder == "forged":
        secrets = [FORGERS_SECRET]
    timestamp = now - 301 if delivery.intruder == "stale" else now
    signed = json.dumps({"id": "evt_other"}).encode() if delivery.intruder == "tampered" else delivery.body
    headers = _headers(signed, secrets=secrets, timestamp=timestamp, webhook_id=delivery.webhook_id)
    if delivery.intruder == "unsigned":
        del headers["webhook-signature"]
    return json.dumps(apigw_event.request_event("POST", apigw_event.PATH, headers, delivery.body, now=now)).encode()


def _headers(body: bytes, *, secrets: Sequence[str], timestamp: int, webhook_id: str) -> dict[str, str]:
    by_secret = [samples.headers(body, secret=s, timestamp=timestamp, webhook_id=webhook_id) for s in secrets]
    return by_secret[0] | {"webhook-signature": " ".join(headers["webhook-signature"] for headers in by_secret)}
