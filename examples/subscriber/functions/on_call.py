"""Handle an incoming SIP call: an urgent event, whose payload comes from the caller."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from openai_webhooks import RealtimeCallIncomingWebhookEvent
from openai_webhooks_subscriber.events import parse_as
from openai_webhooks_subscriber.logs import log_event_id, logger
from openai_webhooks_subscriber.once import handle_once


@log_event_id
@handle_once
def handler(eventbridge_event: dict[str, Any], _context: LambdaContext) -> None:
    # If the event's fields changed, this raises. The call is lost, but the dead-letter queue shows the new fields.
    event = parse_as(RealtimeCallIncomingWebhookEvent, eventbridge_event)
    # Headers are a list, because names can repeat. A caller can send two To headers to appear as another callee, so
    # accept only one. Do not log headers: the caller writes them.
    callees = [header.value for header in event.data.sip_headers if header.name.lower() == "to"]
    answer = "accept" if len(callees) == 1 else "reject"
    # Your code: OpenAI().realtime.calls.accept(event.data.call_id, type="realtime", …), or reject(event.data.call_id).
    logger.info("Call incoming", event_type=event.type, call_id=event.data.call_id, answer=answer)
