"""The table of the responses that each execution started."""

import os
import time

import boto3

from openai_webhooks_subscriber.aws import CONFIG

_DYNAMODB = boto3.client("dynamodb", config=CONFIG)
_NAME = os.environ["EXECUTIONS_TABLE_NAME"]

# Longer than the longest ResponseTimeoutSeconds, plus the time in which EventBridge and Lambda retry.
_EXPIRES_AFTER = 7 * 24 * 3600  # seconds


def add_response(execution_arn: str, response_id: str) -> None:
    """Record a response, next to those of earlier attempts: a retry of the task starts a new response."""
    _DYNAMODB.update_item(
        TableName=_NAME,
        Key={"execution_arn": {"S": execution_arn}},
        UpdateExpression="ADD response_ids :ids SET expires_at = :time",
        ExpressionAttributeValues={
            ":ids": {"SS": [response_id]},
            ":time": {"N": str(int(time.time()) + _EXPIRES_AFTER)},
        },
    )


def response_ids(execution_arn: str) -> list[str]:
    """Return all responses that were recorded before this call."""
    # ConsistentRead, because a response that this call misses runs on although nobody waits for it.
    answer = _DYNAMODB.get_item(TableName=_NAME, Key={"execution_arn": {"S": execution_arn}}, ConsistentRead=True)
    return list(answer.get("Item", {}).get("response_ids", {}).get("SS", []))
