"""The demonstration: every event type and every way a delivery can go wrong, over HTTP, checked to the end."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import requests

from openai_webhooks import CATALOGUE
from webhooks import samples
from webhooks.chain import Chain

STALE = 3600  # seconds


class Delivery(NamedTuple):
    """A delivery to make, and the answers that are right for it."""

    label: str
    body: bytes
    headers: dict[str, str]
    right: tuple[str, ...]
    event: dict[str, Any]


class Result(NamedTuple):
    """A delivery that was made."""

    delivery: Delivery
    status: int
    outcome: str
    milliseconds: float

    @property
    def published(self) -> bool:
        return self.outcome == "published"

    @property
    def right(self) -> bool:
        return f"{self.status} {self.outcome}" in self.delivery.right


def deliver(chain: Chain, *, secret: str, previous_secret: str, progress: Callable[[], None]) -> list[Result]:
    """Make all the demonstration's deliveries. The chain knows `previous_secret` only; it is rotated on the way."""
    results: list[Result] = []
    with ThreadPoolExecutor() as threads:
        for together in _deliveries(chain, secret, previous_secret):
            results += threads.map(lambda delivery: _post(chain.front.url, delivery), together)
            progress()
    chain.subscribers.settle()
    return results


def faults(chain: Chain, results: list[Result]) -> Iterator[str]:
    """What is not as it should be: answers, and subscribers that an event reached or missed."""
    for result in results:
        if not result.right:
            yield (
                f"{result.delivery.label}: {result.status} {result.outcome}, not {' or '.join(result.delivery.right)}"
            )
    published = {r.delivery.event["id"] for r in results if r.published}
    for event in {r.delivery.event["id"]: r.delivery.event for r in results}.values():
        expected = chain.expected(event) if event["id"] in published else []
        if chain.subscribers.reached(event["id"]) != expected:
            yield f"{event['type']}: reached {chain.subscribers.reached(event['id'])}, not {expected}"
    if chain.arrivals_logged() != len(published):
        yield f"the bus logged {chain.arrivals_logged()} arrivals, not {len(published)}"


def _deliveries(chain: Chain, secret: str, previous_secret: str) -> Iterator[list[Delivery]]:
    """The deliveries in their order; those of a list are made at once."""
    for event_type in CATALOGUE:
        yield [first := _delivery(event_type, event_type, secret=previous_secret)]
    again = samples.headers(
        first.body, secret=previous_secret, timestamp=int(time.time()), webhook_id=first.headers["webhook-id"]
    )
    yield [first._replace(label="the same, redelivered", headers=again, right=("200 duplicate",))]
    copy = _delivery("response.completed", "a copy", secret=previous_secret)
    either = ("200 published", "200 duplicate", "409 InProgress")
    yield [copy._replace(label=f"response.completed, copy {n} of 2", right=either) for n in (1, 2)]
    yield [_delivery("orchestra.failed", "orchestra.failed, an unknown type", secret=previous_secret)]
    chain.store_secret(secret)
    yield [_delivery("batch.completed", "batch.completed, new secret", secret=secret)]
    yield [_delivery("batch.completed", "batch.completed, previous secret", secret=previous_secret)]
    unverified = ("401 Unverified",)
    forged = _delivery("batch.completed", "batch.completed, forged", secret=samples.new_secret())
    yield [forged._replace(right=unverified)]
    stale = _delivery("batch.completed", "batch.completed, stale", secret=secret, age=STALE)
    yield [stale._replace(right=unverified)]
    malformed = _delivery("batch.completed", "malformed", secret=secret, body=b"[1, 2, 3]")
    yield [malformed._replace(right=("400 Malformed",))]


def _delivery(event_type: str, label: str, *, secret: str, age: int = 0, body: bytes | None = None) -> Delivery:
    now = int(time.time())
    event = samples.sample(event_type, created_at=now, event_id=samples.new_id("evt_"))
    body = body or samples.encode(event)
    headers = samples.headers(body, secret=secret, timestamp=now - age, webhook_id=samples.new_id("wh_"))
    return Delivery(label, body, headers, ("200 published",), event)


def _post(url: str, delivery: Delivery) -> Result:
    begun = time.perf_counter()
    response = requests.post(url, data=delivery.body, headers=delivery.headers, timeout=30)
    milliseconds = (time.perf_counter() - begun) * 1000
    answer = response.json()
    outcome = answer.get("outcome") or answer.get("error") or answer.get("message")
    return Result(delivery, response.status_code, outcome, milliseconds)
