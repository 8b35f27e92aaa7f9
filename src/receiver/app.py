"""The Lambda function's entry point: a signed HTTP request in, its event on the bus once, a status out.

The only module that reads the environment and the clock. It creates the AWS clients and connects the parts.
"""

import logging
import os
import time
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import Logger, Metrics

from receiver import aws
from receiver.bus import EventBus
from receiver.deduplication import Deduplicator, FailOpenPersistence
from receiver.http_api import respond
from receiver.receiver import Receiver
from receiver.signing_keys import SigningKeys
from receiver.telemetry import Telemetry
from receiver.tls import share_tls_context

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext

# At DEBUG, which the function's logging settings can ask for, botocore logs whole requests and responses.
logging.getLogger("botocore").setLevel(logging.WARNING)
share_tls_context()

telemetry = Telemetry(Metrics(), Logger(), time.perf_counter)
deduplicator = Deduplicator(
    FailOpenPersistence(
        aws.client("dynamodb"),
        table_name=os.environ["DELIVERIES_TABLE_NAME"],
        on_failure=telemetry.deduplication_unavailable,
    ),
    hours=int(os.environ["DEDUPLICATION_HOURS"]),
)
receiver = Receiver(
    signing_keys=SigningKeys(
        aws.client("secretsmanager"),
        secret_id=os.environ["SIGNING_SECRET_ARN"],
        on_failure=telemetry.keys_not_refreshed,
        on_malformed=telemetry.secret_malformed,
    ),
    bus=EventBus(aws.client("events"), name=os.environ["EVENT_BUS_NAME"], source=os.environ["EVENT_SOURCE"]),
    deduplicator=deduplicator,
    telemetry=telemetry,
    tolerance=int(os.environ["TIMESTAMP_TOLERANCE_SECONDS"]),
)


def handler(request: dict[str, Any], context: "LambdaContext") -> dict[str, Any]:
    """Answer one request of API Gateway. docs/guide/operate.md lists the statuses."""
    now = int(time.time())
    deduplicator.start_invocation(context)
    with telemetry.delivery(context.aws_request_id, now):
        return respond(request, receiver, telemetry, now=now)
