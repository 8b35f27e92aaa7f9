"""Handle a completed background response: one event type, one class."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from openai_webhooks import ResponseCompletedWebhookEvent
from openai_webhooks_subscriber.events import parse_as
from openai_webhooks_subscriber.logs import log_event_id, logger
from openai_webhooks_subscriber.once import handle_once


@log_event_id
@handle_once
def handler(eventbridge_event: dict[str, Any], _context: LambdaContext) -> None:
    # If the event's fields changed, this raises, so the event goes to the dead-letter queue.
    event = parse_as(ResponseCompletedWebhookEvent, eventbridge_event)
    # Your code: OpenAI().responses.retrieve(event.data.id) returns the response with its output.
    logger.info("Response completed", event_type=event.type, response_id=event.data.id)
