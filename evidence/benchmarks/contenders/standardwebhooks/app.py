"""The Standard Webhooks library, pydantic and boto3.

Source: https://github.com/standard-webhooks/standard-webhooks/tree/main/libraries/python
"""

from base64 import b64decode
from typing import Any, Literal

from pydantic import BaseModel
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from publishing import publish, signing_secret


class WebhookEvent(BaseModel):
    id: str
    object: Literal["event"] | None = None
    created_at: int
    type: str
    data: dict[str, Any]


def handler(event: dict[str, Any], _context: object) -> Any:
    headers, body = event["headers"], event["body"]
    if event["isBase64Encoded"]:
        body = b64decode(body).decode()
    try:
        Webhook(signing_secret()).verify(body, headers, json_parse=False)
    except WebhookVerificationError:
        return {"statusCode": 401, "body": "invalid signature"}
    unwrapped = WebhookEvent.model_validate_json(body)
    return publish(headers["webhook-id"], unwrapped.type, body)
