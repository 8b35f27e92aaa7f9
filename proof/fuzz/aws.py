"""AWS within this process: every call that the function makes is recorded and answered at once, without a network."""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, cast

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import HTTPResponse

from webhooks.samples import DEVELOPMENT_SECRET

ENVIRONMENT = {
    "EVENT_BUS_NAME": "openai",
    "EVENT_SOURCE": "openai.com",
    "SIGNING_SECRET_ARN": "arn:aws:secretsmanager:us-east-1:123456789012:secret:SigningSecret-AbCdEf",
    "DELIVERIES_TABLE_NAME": "deliveries",
    "DEDUPLICATION_HOURS": "96",
    "TIMESTAMP_TOLERANCE_SECONDS": "300",
    "POWERTOOLS_SERVICE_NAME": "receiver",
    "POWERTOOLS_METRICS_NAMESPACE": "openai-webhooks",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
}
"""The function's variables, as template.yaml and Lambda set them."""

_ANSWERS: Mapping[str, object] = {
    "GetSecretValue": {"SecretString": DEVELOPMENT_SECRET},
    "PutItem": {},
    "PutEvents": {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]},
    "UpdateItem": {},
}


class Aws:
    """What was called since the last look, and which entries were put on the bus."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.entries: list[dict[str, Any]] = []

    def answer(self, request: AWSPreparedRequest, event_name: str, **_: object) -> AWSResponse:
        """botocore sends nothing when a listener to `before-send` has an answer."""
        operation = event_name.rpartition(".")[2]
        self.calls.append(operation)
        if operation == "PutEvents":
            self.entries += json.loads(cast("bytes", request.body))["Entries"]
        raw = HTTPResponse(BytesIO(json.dumps(_ANSWERS[operation]).encode()), preload_content=False)
        return AWSResponse(request.url, 200, HTTPHeaders(), raw)

    def forget(self) -> None:
        self.calls.clear()
        self.entries.clear()


def install() -> Aws:
    """Put it in the place of AWS, for every client that boto3 makes from now on."""
    aws = Aws()
    boto3.DEFAULT_SESSION = boto3.Session()
    boto3.DEFAULT_SESSION.events.register("before-send", aws.answer)  # type: ignore[arg-type]  # it may return one
    return aws
