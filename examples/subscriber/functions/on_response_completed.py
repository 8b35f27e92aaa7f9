"""A background response has finished: one type, one class."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from once import logger, once
from openai_webhooks import ResponseCompletedWebhookEvent, parse


@logger.inject_lambda_context(correlation_id_path="detail.id", log_event=False)
@once
def handler(eventbridge_event: dict[str, Any], _context: LambdaContext) -> None:
    event = parse(eventbridge_event["detail"])
    if not isinstance(event, ResponseCompletedWebhookEvent):
        # Failing keeps the event: in the dead-letter queue, to be redriven once this code knows its new shape.
        raise TypeError(f"{event.type} does not fit its class: {event.drift}")
    # Your code: OpenAI().responses.retrieve(event.data.id), and on with its output.
    logger.info("A response is ready", event_type=event.type, response_id=event.data.id)
