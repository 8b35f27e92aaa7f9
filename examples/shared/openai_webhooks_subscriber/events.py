"""Events of one type."""

from collections.abc import Mapping
from typing import Any, TypeVar

from openai_webhooks import WebhookEvent, parse

Event = TypeVar("Event", bound=WebhookEvent)


class UnexpectedEvent(Exception):
    """The event is of another type, or OpenAI changed its fields. The text names the fields, without their values."""


def unexpected(event: WebhookEvent) -> UnexpectedEvent:
    """Return the error for an event that a function cannot handle."""
    if event.drift is None:
        return UnexpectedEvent(f"This function does not handle {event.type}. Check the detail-type of its rule.")
    return UnexpectedEvent(
        f"The fields of {event.type} changed: {event.drift}. Update openai_webhooks, then redrive the event."
    )


def parse_as(event_class: type[Event], eventbridge_event: Mapping[str, Any]) -> Event:
    """Return the event that EventBridge passes to a function.

    Raises UnexpectedEvent. Let it reach Lambda: the event then goes to the dead-letter queue. Redrive it when your code
    knows the new fields.
    """
    event = parse(eventbridge_event["detail"])
    if not isinstance(event, event_class):
        raise unexpected(event)
    return event
