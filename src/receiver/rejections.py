"""Why the receiver rejects a delivery, and which HTTP answer tells OpenAI so.

OpenAI retries every delivery that is not answered with a 2xx, for up to 72 hours. An exception's text is for the log:
it says what to do and never contains a secret, a signature or any part of a payload.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from openai_webhooks import Malformed, Unverified


class SignatureMismatch(Exception):
    """The headers are well-formed and recent, but no active secret signed the delivery. So a secret may be missing."""


class InProgress(Exception):
    """Another copy of the delivery is being published now."""


class TooLarge(Exception):
    """The event is larger than an entry of an event bus can be."""


class NotConfigured(Exception):
    """No usable signing secret is available."""


class PublishFailed(Exception):
    """EventBridge did not accept the event."""


class Rejection(NamedTuple):
    """What the receiver answers."""

    outcome: str
    """Its name in the answer, in the metrics and in the log."""
    status: int
    retry_after: int | None = None
    """Seconds, for the `Retry-After` header. None if a retry does not depend on time."""


REJECTIONS: Final[Mapping[type[Exception], Rejection]] = {
    Malformed: Rejection("Malformed", 400),
    Unverified: Rejection("Unverified", 401),
    SignatureMismatch: Rejection("SignatureMismatch", 401),
    InProgress: Rejection("InProgress", 409, retry_after=10),
    TooLarge: Rejection("TooLarge", 413),
    PublishFailed: Rejection("PublishFailed", 503, retry_after=5),
    NotConfigured: Rejection("NotConfigured", 503, retry_after=30),
}


def rejection_of(error: Exception) -> Rejection:
    """Return the rejection of an exception whose class, or a base class of it, is in REJECTIONS."""
    return next(REJECTIONS[kind] for kind in type(error).__mro__ if kind in REJECTIONS)
