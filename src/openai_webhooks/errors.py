"""The errors that this package raises. It raises no others on bad input.

An error's text says what is wrong and what to do. It never contains a secret, a signature or any part of a payload.
"""


class WebhookError(Exception):
    """Base class of the errors below."""


class InvalidSecret(WebhookError):
    """The text is not a signing secret."""


class Unverified(WebhookError):
    """The delivery was not signed with an active signing secret, or not recently."""


class Malformed(WebhookError):
    """The delivery is authentic, but its body is not an event."""
