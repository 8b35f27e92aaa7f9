"""Resume the execution that waits for a response."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from openai import NotFoundError

from background_responses import FINAL, OPENAI
from openai_webhooks import (
    ResponseCancelledWebhookEvent,
    ResponseCompletedWebhookEvent,
    ResponseFailedWebhookEvent,
    ResponseIncompleteWebhookEvent,
    parse,
)
from openai_webhooks_subscriber.events import unexpected
from openai_webhooks_subscriber.logs import log_event_id, logger
from openai_webhooks_subscriber.openai_api import explain_refusal
from response_outcome import failure_of, output_of
from task_token import read_task_token
from waiting_task import fail, succeed


class NotEnded(Exception):
    """OpenAI's API says that the response still runs. Lambda's retry asks again."""


# Without handle_once: a task ends only once, so a second event of the response changes nothing.
@log_event_id
@explain_refusal()
def handler(eventbridge_event: dict[str, Any], _context: LambdaContext) -> None:
    response_id = ended_response(eventbridge_event["detail"])
    try:
        response = OPENAI.responses.retrieve(response_id)
    except NotFoundError:
        # Retries would not find it either.
        logger.warning("Response deleted, or of another project than the API key", response_id=response_id)
        return
    token = read_task_token(response.metadata)
    if token is None:
        logger.info("Response not started by this workflow", response_id=response_id)
        return
    # The response decides, not the event: events can arrive late and in any order.
    if response.status not in FINAL:
        raise NotEnded(f"{response_id} is {response.status}")
    failure = failure_of(response)
    resumed = fail(token, failure.error, failure.cause) if failure else succeed(token, output_of(response))
    logger.info(
        "Execution resumed" if resumed else "No execution waits for the response any more",
        response_id=response_id,
        status=response.status,
    )


def ended_response(detail: dict[str, Any]) -> str:
    """Return the id of the response that an event is about. Raises UnexpectedEvent."""
    match event := parse(detail):
        case (
            ResponseCancelledWebhookEvent()
            | ResponseCompletedWebhookEvent()
            | ResponseFailedWebhookEvent()
            | ResponseIncompleteWebhookEvent()
        ):
            return event.data.id
    raise unexpected(event)
