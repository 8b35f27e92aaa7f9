"""Answer an incoming SIP call: accept the callers on the allow-list, and reject everyone else.

A caller waits, so everything slow happens before a call: the imports at the start of an instance, and the read of the
API key each time that the schedule invokes the function.
"""

import os
from typing import Any

from aws_lambda_powertools.utilities.idempotency.exceptions import IdempotencyAlreadyInProgressError
from aws_lambda_powertools.utilities.typing import LambdaContext
from openai import APIConnectionError, ConflictError, InternalServerError, NotFoundError

from caller import Answer, answer_to
from openai_webhooks import RealtimeCallIncomingWebhookEvent
from openai_webhooks_subscriber.events import parse_as
from openai_webhooks_subscriber.logs import log_event_id, logger
from openai_webhooks_subscriber.once import handle_once
from openai_webhooks_subscriber.openai_api import api_key, explain_refusal, openai_client

ALLOWED_CALLERS = frozenset(os.environ["ALLOWED_CALLERS"].split(",")) - {""}
INSTRUCTIONS = os.environ["INSTRUCTIONS"]
MODEL = os.environ["MODEL"]
REJECT_STATUS_CODE = int(os.environ["REJECT_STATUS_CODE"])

# The SDK imports its classes for calls here. Its retries would obey a Retry-After header, for up to 2 minutes.
CALLS = openai_client(timeout=2.0, max_retries=0).realtime.calls


@log_event_id
@explain_refusal()
def handler(eventbridge_event: dict[str, Any], context: LambdaContext) -> None:
    if eventbridge_event["source"] == "aws.events":
        # The schedule. If this raises, so would a call: the alarm fires before one comes.
        api_key(refresh=True)
        return
    try:
        answer_call(eventbridge_event, context)
    except IdempotencyAlreadyInProgressError:
        # If the other invocation fails, its event goes to the dead-letter queue. This one would be a false alarm.
        logger.info("Call is being answered by another invocation")


@handle_once
def answer_call(eventbridge_event: dict[str, Any], _context: LambdaContext) -> None:
    # If the event's fields changed, this raises. The call is lost, but the dead-letter queue shows the new fields.
    event = parse_as(RealtimeCallIncomingWebhookEvent, eventbridge_event)
    call_id = event.data.call_id
    answer = answer_to(event.data.sip_headers, ALLOWED_CALLERS)
    # Without the caller: a number is personal data, and the caller writes the headers.
    line = {"call_id": call_id, "answer": answer.action, "reason": answer.reason}
    try:
        try:
            send(call_id, answer)
        except (APIConnectionError, InternalServerError):
            send(call_id, answer)
    except (NotFoundError, ConflictError) as error:
        # The caller hung up, or an earlier request answered the call: OpenAI does not document its status. Neither
        # needs another attempt.
        logger.warning("Call no longer rings", status=error.status_code, extra=line)
    else:
        logger.info("Call answered", extra=line)


def send(call_id: str, answer: Answer) -> None:
    if answer.action == "accept":
        CALLS.accept(call_id, type="realtime", model=MODEL, instructions=INSTRUCTIONS)
    else:
        CALLS.reject(call_id, status_code=REJECT_STATUS_CODE)
