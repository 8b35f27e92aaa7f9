"""Handle a completed background response: one event type, one class."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from handle_once import handle_once, logger
from openai_webhooks import ResponseCompletedWebhookEvent, parse


@logger.inject_lambda_context(correlation_id_path="detail.id", log_event=False)
@handle_once
def handler(eventbridge_event: dict[str, Any], _context: LambdaContext) -> None:
    event = parse(eventbridge_event["detail"])
    if not isinstance(event, ResponseCompletedWebhookEvent):
        # Raise, so that the event goes to the dead-letter queue. Redrive it when this code knows its new fields.
        raise TypeError(f"{event.type} does not fit its class: {event.drift}")
    # Your code: OpenAI().responses.retrieve(event.data.id) returns the response with its output.
    logger.info("Response completed", event_type=event.type, response_id=event.data.id)
