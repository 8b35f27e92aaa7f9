"""Cancel the responses of an execution that was stopped, timed out or failed."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from background_responses import cancel
from execution_table import response_ids
from openai_webhooks_subscriber.logs import logger
from openai_webhooks_subscriber.openai_api import explain_refusal


@logger.inject_lambda_context(correlation_id_path="detail.executionArn", log_event=False)
@explain_refusal()
def handler(event: dict[str, Any], _context: LambdaContext) -> None:
    # The workflow and EventBridge invoke the function with the same fields.
    for response_id in response_ids(event["detail"]["executionArn"]):
        cancel(response_id)
