"""A batch has come to an end: a family of types, told apart by class."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from once import logger, once
from openai_webhooks import (
    BatchCancelledWebhookEvent,
    BatchCompletedWebhookEvent,
    BatchExpiredWebhookEvent,
    BatchFailedWebhookEvent,
    parse,
)


@logger.inject_lambda_context(correlation_id_path="detail.id", log_event=False)
@once
def handler(eventbridge_event: dict[str, Any], _context: LambdaContext) -> None:
    match event := parse(eventbridge_event["detail"]):
        case BatchCompletedWebhookEvent() | BatchExpiredWebhookEvent() | BatchCancelledWebhookEvent():
            # Your code: OpenAI().batches.retrieve(event.data.id), and its files: each of these ends can have results.
            logger.info("A batch has ended", event_type=event.type, batch_id=event.data.id)
        case BatchFailedWebhookEvent():
            # Your code: the batch's `errors` say which lines of its input file to mend.
            logger.warning("A batch was not run", event_type=event.type, batch_id=event.data.id)
        case _:
            # A type that OpenAI has since added to the family, or one that has changed: then `drift` says where.
            logger.error("Not handled", event_type=event.type, drift=event.drift)
