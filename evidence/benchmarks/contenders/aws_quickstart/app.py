"""The structure of AWS's inbound-webhook quick start: JSON first, a cached secret, no deduplication.

Source: https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-saas-furls.html
"""

import base64
import hashlib
import hmac
import json
import os
import time
from typing import Any

import boto3
from aws_secretsmanager_caching import SecretCache, SecretCacheConfig

cache = SecretCache(config=SecretCacheConfig(), client=boto3.client("secretsmanager"))
events = boto3.client("events")


def handler(event: dict[str, Any], _context: object) -> Any:
    headers = event["headers"]
    payload = event["body"]
    if event["isBase64Encoded"]:
        payload = base64.b64decode(payload).decode()
    try:
        detail_type = json.loads(payload)["type"]
    except ValueError:
        return {"statusCode": 400, "body": "Invalid JSON payload"}
    if not timestamp_is_valid(headers["webhook-timestamp"]):
        return {"statusCode": 400, "body": "Invalid timestamp"}
    if not contains_valid_signature(payload, headers):
        return {"statusCode": 401, "body": "Invalid Signature"}
    response = forward_event(payload, detail_type)
    if response["FailedEntryCount"] > 0:
        return {"statusCode": 500, "body": "FailedEntry Error"}
    return {"statusCode": 200, "body": "Message forwarded to Amazon EventBridge"}


def timestamp_is_valid(timestamp: str) -> bool:
    return abs(time.time() - int(timestamp)) <= 300


def contains_valid_signature(payload: str, headers: dict[str, str]) -> bool:
    secret = cache.get_secret_string(os.environ["SIGNING_SECRET_ARN"])
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{payload}".encode()
    computed = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest())
    return any(
        hmac.compare_digest(signature.encode(), b"v1," + computed)
        for signature in headers["webhook-signature"].split(" ")
    )


def forward_event(payload: str, detail_type: str) -> Any:
    return events.put_events(
        Entries=[
            {
                "Source": os.environ["EVENT_SOURCE"],
                "DetailType": detail_type,
                "Detail": payload,
                "EventBusName": os.environ["EVENT_BUS_NAME"],
            }
        ]
    )
