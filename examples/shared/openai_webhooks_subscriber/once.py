"""A decorator that handles each event once.

OpenAI, the receiver and EventBridge each deliver at least once. If a copy arrives while the first event is in progress,
the copy fails. Lambda retries it a minute later and finds the event handled. If a handler raises, Lambda can retry the
event.
"""

import os

import boto3
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

from openai_webhooks_subscriber.aws import CONFIG

# Powertools puts the function's name into each record, so two functions can handle the same event.
handle_once = idempotent(
    persistence_store=DynamoDBPersistenceLayer(
        table_name=os.environ["HANDLED_EVENTS_TABLE_NAME"], boto3_client=boto3.client("dynamodb", config=CONFIG)
    ),
    config=IdempotencyConfig(
        # OpenAI's event id. An event without one uses EventBridge's id, so that every event has a key.
        event_key_jmespath="detail.id || id",
        # OpenAI retries for up to 72 hours, and EventBridge for up to 24 hours.
        expires_after_seconds=96 * 3600,
        hash_function="sha256",
    ),
)
