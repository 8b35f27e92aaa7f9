"""The OpenAI SDK's `unwrap`, as its guide shows it, and boto3.

Source: https://platform.openai.com/docs/guides/webhooks
"""

from base64 import b64decode
from typing import Any

from openai import InvalidWebhookSignatureError, OpenAI

from publishing import publish, signing_secret

client = OpenAI(api_key="not needed for webhooks")


def handler(event: dict[str, Any], _context: object) -> Any:
    headers, body = event["headers"], event["body"]
    if event["isBase64Encoded"]:
        body = b64decode(body).decode()
    try:
        unwrapped = client.webhooks.unwrap(body, headers, secret=signing_secret())
    except InvalidWebhookSignatureError:
        return {"statusCode": 401, "body": "invalid signature"}
    return publish(headers["webhook-id"], unwrapped.type, body)
