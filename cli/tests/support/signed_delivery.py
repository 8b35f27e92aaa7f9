"""Deliveries that are signed as OpenAI signs them."""

import time
from typing import Any, NamedTuple

import requests

from openai_webhooks_cli import apigw_event, samples


class Delivery(NamedTuple):
    """An event in a signed request."""

    event: dict[str, Any]
    body: bytes
    headers: dict[str, str]

    def post(self, url: str) -> tuple[int, Any]:
        """Send the delivery. Return the status and the answer."""
        response = requests.post(url, data=self.body, headers=self.headers, timeout=30)
        return response.status_code, response.json()

    def request(self) -> dict[str, Any]:
        """Return the delivery as API Gateway passes it to the function."""
        return apigw_event.request_event("POST", apigw_event.PATH, self.headers, self.body, now=int(time.time()))


def new_delivery(
    event_type: str, *, secret: str = samples.DEVELOPMENT_SECRET, age: int = 0, body: bytes | None = None
) -> Delivery:
    """Return a delivery with new ids, signed `age` seconds ago. `body` replaces that of the event."""
    now = int(time.time())
    event = samples.sample(event_type, created_at=now, event_id=samples.new_id("evt_"))
    body = body or samples.encode(event)
    headers = samples.headers(body, secret=secret, timestamp=now - age, webhook_id=samples.new_id("wh_"))
    return Delivery(event, body, headers)
