"""Cancel what an execution started, after its time-out or after someone stopped it."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from background_responses import cancel
from execution_table import response_ids
from openai_webhooks_subscriber.logs import logger


@logger.inject_lambda_context(correlation_id_path="detail.executionArn", log_event=False)
def handler(event: dict[str, Any], _context: LambdaContext) -> None:
    # The workflow and EventBridge invoke the function with the same fields.
    for response_id in response_ids(event["detail"]["executionArn"]):
        cancel(response_id)
