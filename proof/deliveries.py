"""What is sent: OpenAI's own deliveries, and others that must not come onto the bus."""

import json
from collections.abc import Iterator
from typing import Final, NamedTuple

from openai_webhooks import CATALOGUE
from proof.chance import Chance, pick
from webhooks import gateway, samples

TYPES: Final = (*CATALOGUE, "dream.completed")  # the last one is still unknown
TWINS = 0.04  # share of deliveries that bear the same body as the one before, as test events of the dashboard do
INTRUDERS: Final = {"forged": 0.02, "tampered": 0.02, "stale": 0.02, "unsigned": 0.02, "malformed": 0.02}
"""Shares of deliveries that are followed by one that isn't OpenAI's, isn't recent or isn't an event."""

OLD_SECRET: Final = "whsec_b2xkLXNlY3JldC1vbGQtc2VjcmV0LW9sZC1zZWNyZXQ="  # noqa: S105  # for this experiment
NEW_SECRET: Final = "whsec_bmV3LXNlY3JldC1uZXctc2VjcmV0LW5ldy1zZWNyZXQ="  # noqa: S105
FORGERS_SECRET: Final = "whsec_Zm9yZ2VyLWZvcmdlci1mb3JnZXItZm9yZ2VyLWZvcmc="  # noqa: S105


class Delivery(NamedTuple):
    webhook_id: str
    body: bytes
    due: float
    """When it is first sent, in Unix seconds."""
    intruder: str = ""
    """Why it must not come onto the bus; "" where it has to."""


def deliveries(count: int, chance: Chance, *, bursts: list[float]) -> Iterator[Delivery]:
    """`count` deliveries of OpenAI's, spread evenly over the bursts' times, and the intruders among them."""
    body = b""
    for number in range(count):
        due = bursts[number * len(bursts) // count]
        if not body or chance("twin", number) >= TWINS:
            body = _event(number, chance, created_at=int(due))
        delivery = Delivery(f"wh_{number:032x}", body, due)
        yield delivery
        if kind := pick(INTRUDERS, chance("intruder", number)):
            yield _intruder(delivery, kind, number)


def _event(number: int, chance: Chance, *, created_at: int) -> bytes:
    event_type = TYPES[int(chance("type", number) * len(TYPES))]
    return samples.encode(samples.sample(event_type, created_at=created_at, event_id=f"evt_{number:032x}"))


def _intruder(delivery: Delivery, kind: str, number: int) -> Delivery:
    event = json.loads(delivery.body) | {"id": f"evt_{kind}_{number:x}"}
    body = samples.encode(event)
    if kind == "tampered":
        return delivery._replace(body=body, intruder=kind)
    return Delivery(f"wh_{kind}_{number:x}", body[:-1] if kind == "malformed" else body, delivery.due, kind)


def request(delivery: Delivery, *, secrets: list[str], now: int) -> bytes:
    """The delivery, made now and signed with each of the secrets, as API Gateway hands it over."""
    if delivery.intruder == "forged":
        secrets = [FORGERS_SECRET]
    timestamp = now - 301 if delivery.intruder == "stale" else now
    signed = json.dumps({"id": "evt_other"}).encode() if delivery.intruder == "tampered" else delivery.body
    headers = _headers(signed, secrets=secrets, timestamp=timestamp, webhook_id=delivery.webhook_id)
    if delivery.intruder == "unsigned":
        del headers["webhook-signature"]
    return json.dumps(gateway.request_event("POST", gateway.PATH, headers, delivery.body, now=now)).encode()


def _headers(body: bytes, *, secrets: list[str], timestamp: int, webhook_id: str) -> dict[str, str]:
    by_secret = [samples.headers(body, secret=s, timestamp=timestamp, webhook_id=webhook_id) for s in secrets]
    return by_secret[0] | {"webhook-signature": " ".join(headers["webhook-signature"] for headers in by_secret)}
