"""Report every failure. It uses only the fields that all failures share, so it works for new event types too."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from openai_webhooks import parse
from openai_webhooks_subscriber.logs import log_event_id, logger
from openai_webhooks_subscriber.once import handle_once


@log_event_id
@handle_once
def handler(eventbridge_event: dict[str, Any], _context: LambdaContext) -> None:
    detail = eventbridge_event["detail"]
    event = parse(detail)
    match detail.get("data"):
        case {"id": str(resource_id)}:
            # Your code: notify the team, or start the work again.
            logger.error("Failed", event_type=event.type, resource_id=resource_id)
        case _:
            logger.error("Failed, without a resource id", event_type=event.type, drift=event.drift)
