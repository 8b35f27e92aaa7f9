"""What happens to a delivery."""

from collections.abc import Iterable, Mapping
from typing import Literal

from openai_webhooks import Signature, parse_body, parse_signature
from receiver.bus import EventBus
from receiver.deduplication import Deduplicator
from receiver.rejections import SignatureMismatch
from receiver.signing_keys import SigningKey, SigningKeys
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
        webhook_id, endpoint = self._verify(body, headers, now)
        event = parse_body(body)
        self._telemetry.annotate(event_type=event.type)
        if event.drift:
            self._telemetry.schema_drift(event.drift)
        entry = self._bus.to_entry(body, event, endpoint)
        event_id, published = self._deduplicator.run_once(webhook_id, lambda: self._bus.publish(entry))
        self._telemetry.annotate(eventbridge_id=event_id)
        return "Published" if published else "Duplicate"

    def _verify(self, body: bytes, headers: Mapping[str, str], now: int) -> tuple[str, str]:
        """Return the webhook id of an authentic delivery, and the endpoint whose key proves it."""
        # The headers come first: a forged request with malformed or old headers causes no call to AWS.
        signature = parse_signature(headers, now=now, tolerance=self._tolerance)
        signer = _signer(signature, body, self._signing_keys.load(now))
        # The secret may have been rotated since it was read.
        signer = signer or _signer(signature, body, self._signing_keys.refresh(now))
        if not signer:
            raise SignatureMismatch("no active signing secret matches webhook-signature")
        if signer.endpoint:
            self._telemetry.annotate(endpoint=signer.endpoint)
        return signature.webhook_id, signer.endpoint


def _signer(signature: Signature, body: bytes, keys: Iterable[SigningKey]) -> SigningKey | None:
    """Return the key that signed the body, if it is one of `keys`."""
    return next((key for key in keys if signature.matches(body, [key.key])), None)
