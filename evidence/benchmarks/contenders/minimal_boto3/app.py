"""The minimum with boto3: hmac, json and the AWS calls. No other library, no log, no metric."""

import json
from base64 import b64decode
from functools import cache
from typing import Any

import hmac_verification
from publishing import publish, signing_secret


@cache
def key() -> bytes:
    return b64decode(signing_secret().removeprefix("whsec_"))


def handler(event: dict[str, Any], _context: object) -> Any:
    headers = event["headers"]
    body: bytes = b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    if not hmac_verification.is_authentic(body, headers, key()):
        return {"statusCode": 401, "body": "invalid signature"}
    return publish(headers["webhook-id"], json.loads(body)["type"], body.decode())
