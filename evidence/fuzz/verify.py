"""Target: `verify` accepts exactly the authentic deliveries, and raises only Unverified."""

from evidence.fuzz.deliveries import KEY, NOW, Delivery
from evidence.fuzz.oracle import Finding, is_authentic
from openai_webhooks import Unverified, verify

OTHER_KEY = bytes(32)


def execute(data: bytes) -> None:
    """Verify a delivery. Raise Finding if the result is not what the oracle expects."""
    delivery = Delivery.decode(data)
    try:
        verify(delivery.body, delivery.headers, keys=[OTHER_KEY, KEY], now=NOW)
    except Unverified:
        accepted = False
    else:
        accepted = True
    if accepted != is_authentic(delivery):
        raise Finding("accepted a forgery" if accepted else "refused a signed delivery")
