"""Target: `unwrap` finds exactly the events that are there, and raises nothing but Malformed."""

from openai_webhooks import CATALOGUE, Malformed, WebhookEvent, unwrap
from proof.fuzz.deliveries import Delivery
from proof.fuzz.oracle import Finding, event_type


def execute(data: bytes) -> None:
    body = Delivery.decode(data).body
    expected = event_type(body)
    try:
        event = unwrap(body)
    except Malformed:
        if expected is not None:
            raise Finding("refused an event") from None
        return
    if event.type != expected:
        raise Finding("made an event of something else")
    if type(event) is not (WebhookEvent if event.drift else CATALOGUE.get(event.type, WebhookEvent)):
        raise Finding("gave an event another type's class")
