"""A SIP call rings: the urgent one, and the one whose payload strangers write."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext

from once import logger, once
from openai_webhooks import RealtimeCallIncomingWebhookEvent, parse


@logger.inject_lambda_context(correlation_id_path="detail.id", log_event=False)
@once
def handler(eventbridge_event: dict[str, Any], _context: LambdaContext) -> None:
    event = parse(eventbridge_event["detail"])
    if not isinstance(event, RealtimeCallIncomingWebhookEvent):
        # Failing keeps the event, if not the call: the dead-letter queue shows whoever looks how its shape has changed.
        raise TypeError(f"{event.type} does not fit its class: {event.drift}")
    # A list, since names repeat, and a caller may repeat one to be taken for another. Nothing of it is logged.
    callees = [header.value for header in event.data.sip_headers if header.name.lower() == "to"]
    answer = "accept" if len(callees) == 1 else "reject"
    # Your code: OpenAI().realtime.calls.accept(event.data.call_id, type="realtime", …), or reject(event.data.call_id).
    logger.info("A call rings", event_type=event.type, call_id=event.data.call_id, answer=answer)
