"""hmac and json without AWS: the cost of the runtime client and the verification only."""

import json
import os
from base64 import b64decode
from typing import Any

import hmac_verification

KEY = b64decode(os.environ["SIGNING_SECRET"].removeprefix("whsec_"))


def handler(event: dict[str, Any], _context: object) -> Any:
    body: bytes = b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    if not hmac_verification.is_authentic(body, event["headers"], KEY):
        return {"statusCode": 401, "body": "invalid signature"}
    return {"statusCode": 200, "body": json.loads(body)["type"]}
