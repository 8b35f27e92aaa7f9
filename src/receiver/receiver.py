"""What happens to a delivery."""

from collections.abc import Mapping
from typing import Literal

from openai_webhooks import Unverified, parse_body, parse_signature
from receiver.bus import MAX_ENTRY_BYTES, EventBus
from receiver.deduplication import Deduplicator
from receiver.rejections import TooLarge
from receiver.signing_keys import SigningKeys
from receiver.telemetry import Telemetry

Outcome = Literal["Published", "Duplicate"]


class Receiver:
    """Verifies a delivery, unwraps its event and publishes the event once."""

    def __init__(
        self,
        *,
        signing_keys: SigningKeys,
        bus: EventBus,
        deduplicator: Deduplicator,
        telemetry: Telemetry,
        tolerance: int,
    ) -> None:
        """`tolerance` is how far a delivery's timestamp may be from the clock, in seconds."""
        self._signing_keys = signing_keys
        self._bus = bus
        self._deduplicator = deduplicator
        self._telemetry = telemetry
        self._tolerance = tolerance

    def receive(self, body: bytes, headers: Mapping[str, str], now: int) -> Outcome:
        """Publish the event of a delivery, once.

        `headers` have lower-case names. `now` is in Unix seconds. Raises one of the exceptions in REJECTIONS.
        """
        if len(body) > MAX_ENTRY_BYTES:
            raise TooLarge(f"the body has {len(body)} bytes; an event bus accepts {MAX_ENTRY_BYTES}")
        webhook_id = self._verify(body, headers, now)
        event = parse_body(body)
        self._telemetry.annotate(event_type=event.type)
        if event.drift:
            self._telemetry.schema_drift(event.drift)
        entry = self._bus.to_entry(body, event)
        event_id, published = self._deduplicator.run_once(webhook_id, lambda: self._bus.publish(entry))
        self._telemetry.annotate(eventbridge_id=event_id)
        return "Published" if published else "Duplicate"

    def _verify(self, body: bytes, headers: Mapping[str, str], now: int) -> str:
        """Return the webhook id of an authentic delivery."""
        # The headers come first: a forged request with malformed or old headers causes no call to AWS.
        signature = parse_signature(headers, now=now, tolerance=self._tolerance)
        if signature.matches(body, self._signing_keys.load(now)):
            return signature.webhook_id
        # The secret may have been rotated since it was read.
        if signature.matches(body, self._signing_keys.refresh(now)):
            return signature.webhook_id
        raise Unverified("no active signing secret matches webhook-signature")
