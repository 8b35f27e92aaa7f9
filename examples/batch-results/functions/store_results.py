"""Store the results of a batch in S3, and announce them on the receiver's bus.

Every step can run twice: files that are stored are not copied again, the summary is the same, and subscribers get the
event `batch.results.stored` at least once. So a failed or repeated event needs no record of its own.
"""

import json
import os
import re
from typing import Any

import boto3
import openai
from aws_lambda_powertools.utilities.typing import LambdaContext
from openai.types import Batch

from openai_file import copy_file
from openai_webhooks import BatchCancelledWebhookEvent, BatchCompletedWebhookEvent, BatchExpiredWebhookEvent, parse
from openai_webhooks_subscriber.events import UnexpectedEvent, unexpected
from openai_webhooks_subscriber.logs import log_event_id, logger
from openai_webhooks_subscriber.openai_api import explain_refusal, openai_client
from resumable_upload import ResumableUpload

BUCKET = os.environ["RESULTS_BUCKET_NAME"]
API_KEY_SECRET = os.environ["OPENAI_API_KEY_SECRET_NAME"]
ENDED = ("completed", "expired", "cancelled", "failed")
SUMMARIZED = ("status", "endpoint", "model", "input_file_id", "created_at", "metadata", "request_counts", "usage")

# Seconds to wait for OpenAI's next bytes. Less than STOP_BEFORE_TIMEOUT.
client = openai_client(timeout=20)
s3 = boto3.client("s3")
eventbridge = boto3.client("events")


class BatchNotEnded(Exception):
    """OpenAI's API says that the batch is still running. The text has its status."""


class BatchNotFound(Exception):
    """OpenAI does not know the batch. The text says what to do."""


class EventNotPublished(Exception):
    """EventBridge did not accept the event. The text has the reason."""


@log_event_id
@explain_refusal()
def handler(eventbridge_event: dict[str, Any], context: LambdaContext) -> None:
    batch_id = batch_id_of(eventbridge_event)
    batch = _ended_batch(batch_id)
    files = {
        name: _store(batch_id, name, file_id, context)
        for name, file_id in (("output", batch.output_file_id), ("errors", batch.error_file_id))
        if file_id
    }
    # A warning about a field of another type would log its value.
    facts = batch.model_dump(mode="json", include=set(SUMMARIZED), warnings=False)
    summary = {"batch_id": batch_id, **facts, "files": files}
    # Last, so that everything that the summary and the event name is there.
    summary_key = f"batches/{batch_id}/summary.json"
    body = json.dumps(summary, indent=2).encode()
    s3.put_object(Bucket=BUCKET, Key=summary_key, Body=body, ContentType="application/json")
    _publish(summary, summary_key)
    logger.info("Results stored", batch_id=batch_id, status=batch.status, files=files)


def batch_id_of(eventbridge_event: dict[str, Any]) -> str:
    """Return the id of the batch that ended, which is safe in an S3 key. Raises UnexpectedEvent."""
    match event := parse(eventbridge_event["detail"]):
        case BatchCompletedWebhookEvent() | BatchExpiredWebhookEvent() | BatchCancelledWebhookEvent():
            # A signed event, but a key is a path.
            if re.fullmatch(r"[\w-]{1,128}", event.data.id, re.ASCII):
                return event.data.id
            raise UnexpectedEvent(f"The batch id of {event.type} has other characters than letters, digits, _ and -.")
    raise unexpected(event)


def _ended_batch(batch_id: str) -> Batch:
    try:
        batch = client.batches.retrieve(batch_id)
    except openai.NotFoundError:
        raise BatchNotFound(
            f"OpenAI does not know the batch {batch_id}. Check that the API key in the secret {API_KEY_SECRET} is of "
            "the project that the webhook endpoint is in."
        ) from None
    if batch.status not in ENDED:
        raise BatchNotEnded(f"OpenAI's API says that the batch {batch_id} is {batch.status}. Lambda retries the event.")
    return batch


def _store(batch_id: str, name: str, file_id: str, context: LambdaContext) -> dict[str, Any]:
    upload = ResumableUpload(s3, BUCKET, f"batches/{batch_id}/{name}.jsonl", source=file_id)
    copy_file(client, file_id, upload, remaining_ms=context.get_remaining_time_in_millis)
    return {"key": upload.key, "bytes": upload.size, "file_id": file_id}


def _publish(summary: dict[str, Any], summary_key: str) -> None:
    detail = {name: summary[name] for name in ("batch_id", "status", "request_counts", "usage")}
    detail |= {"bucket": BUCKET, "summary_key": summary_key}
    detail |= {f"{name}_key": file["key"] for name, file in summary["files"].items()}
    answer = eventbridge.put_events(
        Entries=[
            {
                "EventBusName": os.environ["EVENT_BUS_NAME"],
                "Source": os.environ["RESULTS_SOURCE"],
                "DetailType": "batch.results.stored",
                "Detail": json.dumps(detail),
            }
        ]
    )
    if answer["FailedEntryCount"]:
        [result] = answer["Entries"]
        raise EventNotPublished(f"{result.get('ErrorCode')}: {result.get('ErrorMessage')}")
