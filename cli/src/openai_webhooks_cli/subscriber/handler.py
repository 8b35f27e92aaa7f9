"""Handle OpenAI's webhook events, as the rules in template.yaml select them.

EventBridge and Lambda can deliver an event twice. If your code must not run twice, deduplicate on `detail["id"]`, as
examples/subscriber does.
"""

import json
from typing import Any

from openai_webhooks import BatchCompletedWebhookEvent, WebhookEvent, parse


def on_batch(eventbridge_event: dict[str, Any], _context: object) -> None:
    event = parse(eventbridge_event["detail"])
    match event:
        case BatchCompletedWebhookEvent():
            # Your code: OpenAI().batches.retrieve(event.data.id) names the output files.
            log("Batch completed", event, batch_id=event.data.id)
        case _:
            log("Batch ended without success, or its event is new", event, drift=event.drift)


def on_failure(eventbridge_event: dict[str, Any], _context: object) -> None:
    # Your code: notify the team, or start the work again.
    log("Failed", parse(eventbridge_event["detail"]))


def log(message: str, event: WebhookEvent, **fields: str | None) -> None:
    print(json.dumps({"message": message, "event_type": event.type, **fields}))  # it goes to the function's log
