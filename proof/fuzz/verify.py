"""Target: `verify` accepts exactly the deliveries that are authentic, and raises nothing but Unverified."""

from openai_webhooks import Unverified, verify
from proof.fuzz.deliveries import KEY, NOW, Delivery
from proof.fuzz.oracle import Finding, is_authentic

OTHER_KEY = bytes(32)


def execute(data: bytes) -> None:
    delivery = Delivery.decode(data)
    try:
        verify(delivery.body, delivery.headers, keys=[OTHER_KEY, KEY], now=NOW)
    except Unverified:
        accepted = False
    else:
        accepted = True
    if accepted != is_authentic(delivery):
        raise Finding("accepted a forgery" if accepted else "refused a signed delivery")
