"""The least that boto3 allows: hmac, json and the AWS calls. No library beside it, no log, no metric."""

import json
from base64 import b64decode
from functools import cache
from typing import Any

import bare
from publishing import publish, signing_secret


@cache
def key() -> bytes:
    return b64decode(signing_secret().removeprefix("whsec_"))


def handler(event: dict[str, Any], _context: object) -> Any:
    headers = event["headers"]
    body: bytes = b64decode(event["body"]) if event["isBase64Encoded"] else event["body"].encode()
    if not bare.is_authentic(body, headers, key()):
        return {"statusCode": 401, "body": "invalid signature"}
    return publish(headers["webhook-id"], json.loads(body)["type"], body.decode())
