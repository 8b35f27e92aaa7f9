"""Target: `parse_body` accepts exactly the bodies that are events, and raises only Malformed."""

from evidence.fuzz.deliveries import Delivery
from evidence.fuzz.oracle import Finding, event_type
from openai_webhooks import CATALOG, Malformed, WebhookEvent, parse_body


def execute(data: bytes) -> None:
    """Unwrap a body. Raise Finding if the result is not what the oracle expects."""
    body = Delivery.decode(data).body
    expected = event_type(body)
    try:
        event = parse_body(body)
    except Malformed:
        if expected is not None:
            raise Finding("refused an event") from None
        return
    if event.type != expected:
        raise Finding("returned an event for a body that is none")
    if type(event) is not (WebhookEvent if event.drift else CATALOG.get(event.type, WebhookEvent)):
        raise Finding("returned an event of another type's class")
