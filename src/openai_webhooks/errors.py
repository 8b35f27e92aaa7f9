"""Why a delivery is not accepted, and the HTTP status that tells OpenAI so.

OpenAI redelivers whatever is not answered with a 2xx, for up to 72 hours. An error's text is for the
log: it says what to do and never holds a secret, a signature or any part of a payload.
"""

from typing import ClassVar


class NotAccepted(Exception):
    """Base of all reasons not to accept a delivery."""

    status: ClassVar[int]
    """HTTP status of the answer."""
    retry_after: ClassVar[int | None] = None
    """Seconds after which a redelivery may fare better, for the `Retry-After` header."""


class Malformed(NotAccepted):
    """The delivery is authentic, but its body is not an event."""

    status = 400


class Unverified(NotAccepted):
    """The delivery was not signed with an active signing secret, or not recently."""

    status = 401


class InProgress(NotAccepted):
    """Another copy of the delivery is being published at this moment."""

    status = 409
    retry_after = 10


class TooLarge(NotAccepted):
    """The event is larger than an entry of an event bus may be."""

    status = 413


class NotConfigured(NotAccepted):
    """There is no usable signing secret."""

    status = 503
    retry_after = 30


class PublishFailed(NotAccepted):
    """The event bus did not take the event."""

    status = 503
    retry_after = 5
