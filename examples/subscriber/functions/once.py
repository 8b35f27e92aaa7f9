"""What the functions share: a logger, and `once`, by which a handler sees each event once.

OpenAI, the receiver and EventBridge each deliver at least once. A copy that comes while the first is being worked
on fails; Lambda tries it again a minute later and finds the work done. A handler that raises frees the event for its
next try.
"""

import os

from aws_lambda_powertools import Logger
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig, idempotent

logger = Logger()

# The records bear the function's name: an event that reaches two functions is handled by both.
once = idempotent(
    persistence_store=DynamoDBPersistenceLayer(table_name=os.environ["HANDLED_EVENTS_TABLE_NAME"]),
    config=IdempotencyConfig(
        # OpenAI's id of the event; without one EventBridge's, so that no event goes without a key.
        event_key_jmespath="detail.id || id",
        # OpenAI redelivers for up to 72 hours, EventBridge for up to 24.
        expires_after_seconds=96 * 3600,
        hash_function="sha256",
    ),
)
