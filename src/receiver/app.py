"""The Lambda function behind the URL: a signed HTTP delivery in, its event on the bus once, a status out.

The only module that reads the clock and the environment.
"""

import json
import logging
import os
import time
from base64 import b64decode
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import boto3
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.idempotency import IdempotencyConfig, idempotent_function
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyInconsistentStateError,
)

from openai_webhooks import InProgress, NotAccepted, TooLarge, Unverified, unwrap, verify
from receiver import bus
from receiver.aws import CONFIG, prompt
from receiver.deduplication import DeliveriesTable
from receiver.signing_keys import SigningKeys

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

BUS_NAME = os.environ["EVENT_BUS_NAME"]
SOURCE = os.environ["EVENT_SOURCE"]
TOLERANCE = int(os.environ["TIMESTAMP_TOLERANCE_SECONDS"])

logger = Logger()
metrics = Metrics()
# At DEBUG, which the function's logging settings can ask for, botocore writes requests and responses out whole.
logging.getLogger("botocore").setLevel(logging.WARNING)


def count(name: str) -> None:
    metrics.add_metric(name=name, unit=MetricUnit.Count, value=1)


def deduplication_unavailable(reason: str) -> None:
    count("DeduplicationUnavailable")
    logger.error("The deliveries table failed: the delivery goes on without deduplication", reason=reason)


def signing_keys_not_refreshed(reason: str) -> None:
    logger.error("The signing secret could not be read: the known keys stay in use", reason=reason)


events = prompt(boto3.client("events", config=CONFIG))
signing_keys = SigningKeys(
    prompt(boto3.client("secretsmanager", config=CONFIG)), os.environ["SIGNING_SECRET_ARN"], signing_keys_not_refreshed
)
deliveries = DeliveriesTable(
    os.environ["DELIVERIES_TABLE_NAME"], prompt(boto3.client("dynamodb", config=CONFIG)), deduplication_unavailable
)
once = IdempotencyConfig(
    expires_after_seconds=int(os.environ["DEDUPLICATION_HOURS"]) * 3600,
    hash_function="sha256",
    response_hook=lambda _response, _record: "Duplicate",
)


@logger.inject_lambda_context(log_event=False, clear_state=True)
@metrics.log_metrics
def handler(event: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Answer one API Gateway HTTP API request (payload format 2.0) as the README's table of statuses says."""
    # Lower case already from API Gateway; `sam local start-api` leaves them as they came.
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    logger.append_keys(webhook_id=headers.get("webhook-id", "")[:128])
    once.register_lambda_context(context)
    try:
        outcome = receive(_body(event), headers, now=int(time.time()))
    except NotAccepted as error:
        outcome = type(error).__name__
        count(outcome)
        logger.warning(outcome, reason=str(error))
        return _answer(error.status, {"error": outcome}, error.retry_after)
    count(outcome)
    logger.info(outcome)
    return _answer(200, {"outcome": outcome.lower()})


def receive(body: bytes, headers: Mapping[str, str], *, now: int) -> str:
    """Bring a delivery's event onto the bus, once. Returns `Published` or `Duplicate`, or raises NotAccepted."""
    if len(body) > bus.MAX_ENTRY:
        raise TooLarge(f"the body has {len(body)} bytes, an event bus takes {bus.MAX_ENTRY}")
    verify(body, headers, keys=signing_keys.candidates(now), now=now, tolerance=TOLERANCE)
    event = unwrap(body)
    logger.append_keys(event_type=event.type)
    if event.drift:
        count("SchemaDrift")
        logger.warning("The event departs from its type's schema and is published as it came", drift=event.drift)
    entry = bus.entry(body, event, bus_name=BUS_NAME, source=SOURCE)
    try:
        outcome: str = publish_once(webhook_id=headers["webhook-id"], entry=entry)
    except (IdempotencyAlreadyInProgressError, IdempotencyInconsistentStateError):
        raise InProgress("another copy of this delivery is being published") from None
    return outcome


@idempotent_function(  # type: ignore[untyped-decorator]  # Powertools declares it Any
    data_keyword_argument="webhook_id", persistence_store=deliveries, config=once, key_prefix="delivery"
)
def publish_once(*, webhook_id: str, entry: "PutEventsRequestEntryTypeDef") -> str:  # noqa: ARG001  # the record's key
    logger.append_keys(eventbridge_id=bus.publish(events, entry))
    return "Published"


def _body(event: Mapping[str, Any]) -> bytes:
    # API Gateway sends neither lone surrogates nor what is not base64, but whoever may invoke the function can.
    body = (event.get("body") or "").encode(errors="surrogatepass")
    if not event.get("isBase64Encoded"):
        return body
    try:
        return b64decode(body)
    except ValueError:
        raise Unverified("the body is not base64, as it is said to be") from None


def _answer(status: int, body: dict[str, str], retry_after: int | None = None) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    if retry_after:
        headers["retry-after"] = str(retry_after)
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}
