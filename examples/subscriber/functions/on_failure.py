"""Something has failed, whatever its family: read by what all failures share, so that new types are reported too."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from once import logger, once
from openai_webhooks import parse


@logger.inject_lambda_context(correlation_id_path="detail.id", log_event=False)
@once
def handler(eventbridge_event: dict[str, Any], _context: LambdaContext) -> None:
    detail = eventbridge_event["detail"]
    event = parse(detail)
    match detail.get("data"):
        case {"id": str(resource_id)}:
            # Your code: tell those on duty, or start the work again.
            logger.error("Failed", event_type=event.type, resource_id=resource_id)
        case _:
            logger.error("Failed, without saying what", event_type=event.type, drift=event.drift)
