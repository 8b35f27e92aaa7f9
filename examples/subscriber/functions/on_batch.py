"""Handle the end of a batch: a family of event types, told apart by class."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from openai_webhooks import (
    BatchCancelledWebhookEvent,
    BatchCompletedWebhookEvent,
    BatchExpiredWebhookEvent,
    BatchFailedWebhookEvent,
    parse,
)
from openai_webhooks_subscriber.logs import log_event_id, logger
from openai_webhooks_subscriber.once import handle_once


@log_event_id
@handle_once
def handler(eventbridge_event: dict[str, Any], _context: LambdaContext) -> None:
    match event := parse(eventbridge_event["detail"]):
        case BatchCompletedWebhookEvent() | BatchExpiredWebhookEvent() | BatchCancelledWebhookEvent():
            # Your code: OpenAI().batches.retrieve(event.data.id) names the output files. An expired or canceled batch
            # can have results too.
            logger.info("Batch ended", event_type=event.type, batch_id=event.data.id)
        case BatchFailedWebhookEvent():
            # Your code: the batch's `errors` list the invalid lines of its input file.
            logger.warning("Batch failed", event_type=event.type, batch_id=event.data.id)
        case _:
            # Either OpenAI added a type to the family, or the event's fields changed. Then `drift` says which.
            logger.error("Event not handled", event_type=event.type, drift=event.drift)
