"""Target: the handler publishes exactly the authentic events, verbatim and in time, and logs one line and no secret."""

import time

from evidence.fuzz.aws import ENDPOINT
from evidence.fuzz.deliveries import Delivery, samples
from evidence.fuzz.function import aws, invoke
from evidence.fuzz.oracle import Finding, event_type, is_authentic, received
from openai_webhooks_cli.samples import DEVELOPMENT_SECRET
from receiver.signing_keys import MAX_REFRESHES

BUDGET = 5  # seconds to answer a delivery
_PUBLISHING = ["PutItem", "PutEvents", "UpdateItem"]


def execute(data: bytes) -> None:
    """Invoke the function. Raise Finding if it does not do what the oracle expects."""
    delivery = Delivery.decode(data)
    event = delivery.event()
    body = received(event)
    expected = _status(Delivery(delivery.headers, body)) if body is not None else 401
    aws.forget()
    started = time.monotonic()
    status, output = invoke(event)
    seconds = time.monotonic() - started
    if status != expected:
        raise Finding(f"answered {status} instead of {expected}")
    if aws.calls != (_PUBLISHING if status == 200 else []):
        raise Finding(f"called {aws.calls} for a {status}")
    if [entry["Detail"].encode() for entry in aws.entries] != [body] * (status == 200):
        raise Finding("published something else than the body")
    if any(entry["Resources"] != [f"openai:endpoint/{ENDPOINT}"] for entry in aws.entries):
        raise Finding("published another endpoint")
    if seconds > BUDGET:
        raise Finding(f"answered after {seconds:.1f} s")
    if DEVELOPMENT_SECRET.removeprefix("whsec_") in output:
        raise Finding("logged the signing secret")
    if output.count("\n") != 1:
        raise Finding(f"logged {output.count('\n')} lines")


def _status(delivery: Delivery) -> int:
    if not is_authentic(delivery):
        return 401
    return 400 if event_type(delivery.body) is None else 200


def _read_every_key() -> None:
    """Make the function read the secret, so that it does not read it again while its clock is stopped."""
    _, sample = next(samples())
    invoke(Delivery.decode(sample).event())
    for _ in range(MAX_REFRESHES):
        invoke(Delivery.decode(sample + b"forged").event())


_read_every_key()
