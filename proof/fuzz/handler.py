"""Target: the handler publishes exactly the authentic events, verbatim, in time, and tells no secret."""

import time

from proof.fuzz.deliveries import Delivery, samples
from proof.fuzz.function import aws, invoke
from proof.fuzz.oracle import Finding, event_type, is_authentic, received
from webhooks.samples import DEVELOPMENT_SECRET

BUDGET = 5  # seconds in which a delivery has to be answered
_PUBLISHING = ["PutItem", "PutEvents", "UpdateItem"]


def execute(data: bytes) -> None:
    delivery = Delivery.decode(data)
    event = delivery.event()
    body = received(event)
    expected = _status(Delivery(delivery.headers, body)) if body is not None else 401
    aws.forget()
    started = time.monotonic()
    status, output = invoke(event)
    seconds = time.monotonic() - started
    if status != expected:
        raise Finding(f"answered {status} in the place of {expected}")
    if aws.calls != (_PUBLISHING if status == 200 else []):
        raise Finding(f"called {aws.calls} for a {status}")
    if [entry["Detail"].encode() for entry in aws.entries] != [body] * (status == 200):
        raise Finding("published something else than the body")
    if seconds > BUDGET:
        raise Finding(f"answered after {seconds:.1f} s")
    if DEVELOPMENT_SECRET.removeprefix("whsec_") in output:
        raise Finding("told the signing secret")


def _status(delivery: Delivery) -> int:
    if not is_authentic(delivery):
        return 401
    return 400 if event_type(delivery.body) is None else 200


def _read_every_key() -> None:
    """From here on, its clock stopped, the function has no reason to read the secret again."""
    _, sample = next(samples())
    invoke(Delivery.decode(sample).event())
    invoke(Delivery.decode(sample + b"forged").event())


_read_every_key()
