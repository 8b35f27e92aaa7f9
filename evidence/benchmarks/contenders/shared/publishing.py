"""Publishing, for all contenders: boto3 with its defaults, and the receiver's calls if there is a table.

The contenders share it, so that they differ only in how they verify and unwrap.
"""

import os
import time
from functools import cache
from typing import Any

import boto3

BUS_NAME = os.environ["EVENT_BUS_NAME"]
SOURCE = os.environ["EVENT_SOURCE"]
TABLE_NAME = os.environ.get("DELIVERIES_TABLE_NAME", "")
KEPT = int(os.environ["DEDUPLICATION_HOURS"]) * 3600
TIMEOUT = 10  # seconds, the function's

# The delivery was never claimed, or its record has expired, or the process that claimed it has crashed.
CLAIMABLE = (
    "attribute_not_exists(#id) OR #expiry < :now OR "
    "(#status = :inprogress AND attribute_exists(#in_progress_expiry) AND #in_progress_expiry < :now_in_millis)"
)

events = boto3.client("events")
secrets = boto3.client("secretsmanager")
table = boto3.client("dynamodb") if TABLE_NAME else None


@cache
def signing_secret() -> str:
    """Return the endpoint's signing secret, read once."""
    return secrets.get_secret_value(SecretId=os.environ["SIGNING_SECRET_ARN"], VersionStage="AWSCURRENT")[
        "SecretString"
    ]


def publish(webhook_id: str, event_type: str, body: str) -> dict[str, Any]:
    """Publish the event of a delivery and answer the delivery. With a table, publish it once."""
    if table is None:
        return _put(event_type, body)
    now = time.time()
    try:
        table.put_item(
            TableName=TABLE_NAME,
            Item={
                "id": {"S": webhook_id},
                "status": {"S": "INPROGRESS"},
                "expiration": {"N": str(int(now) + KEPT)},
                "in_progress_expiration": {"N": str(int((now + TIMEOUT) * 1000))},
            },
            ConditionExpression=CLAIMABLE,
            ExpressionAttributeNames={
                "#id": "id",
                "#expiry": "expiration",
                "#status": "status",
                "#in_progress_expiry": "in_progress_expiration",
            },
            ExpressionAttributeValues={
                ":now": {"N": str(int(now))},
                ":now_in_millis": {"N": str(int(now * 1000))},
                ":inprogress": {"S": "INPROGRESS"},
            },
            ReturnValuesOnConditionCheckFailure="ALL_OLD",
        )
    except table.exceptions.ConditionalCheckFailedException as error:
        record: Any = error.response["Item"]  # type: ignore[typeddict-item]  # boto3-stubs do not know the fields of errors
        if record["status"]["S"] == "COMPLETED":
            return {"statusCode": 200, "body": "duplicate"}
        return {"statusCode": 409, "body": "in progress"}
    answer = _put(event_type, body)
    if answer["statusCode"] == 200:
        table.update_item(
            TableName=TABLE_NAME,
            Key={"id": {"S": webhook_id}},
            UpdateExpression="SET #response_data = :response_data, #expiry = :expiry, #status = :status",
            ExpressionAttributeNames={"#response_data": "data", "#expiry": "expiration", "#status": "status"},
            ExpressionAttributeValues={
                ":response_data": {"S": "published"},
                ":expiry": {"N": str(int(now) + KEPT)},
                ":status": {"S": "COMPLETED"},
            },
        )
    else:
        table.delete_item(TableName=TABLE_NAME, Key={"id": {"S": webhook_id}})
    return answer


def _put(event_type: str, body: str) -> dict[str, Any]:
    result = events.put_events(
        Entries=[{"EventBusName": BUS_NAME, "Source": SOURCE, "DetailType": event_type, "Detail": body}]
    )
    if result["FailedEntryCount"]:
        return {"statusCode": 503, "body": "not published"}
    return {"statusCode": 200, "body": "published"}
