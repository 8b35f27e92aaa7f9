"""Handle an incoming SIP call: an urgent event, whose payload comes from the caller."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from handle_once import handle_once, logger
from openai_webhooks import RealtimeCallIncomingWebhookEvent, parse


@logger.inject_lambda_context(correlation_id_path="detail.id", log_event=False)
@handle_once
def handler(eventbridge_event: dict[str, Any], _context: LambdaContext) -> None:
    event = parse(eventbridge_event["detail"])
    if not isinstance(event, RealtimeCallIncomingWebhookEvent):
        # Raise: the call is lost, but the dead-letter queue keeps the event and shows its new fields.
        raise TypeError(f"{event.type} does not fit its class: {event.drift}")
    # Headers are a list, because names can repeat. A caller can send two To headers to appear as another callee, so
    # accept only one. Do not log headers: the caller writes them.
    callees = [header.value for header in event.data.sip_headers if header.name.lower() == "to"]
    answer = "accept" if len(callees) == 1 else "reject"
    # Your code: OpenAI().realtime.calls.accept(event.data.call_id, type="realtime", …), or reject(event.data.call_id).
    logger.info("Call incoming", event_type=event.type, call_id=event.data.call_id, answer=answer)
