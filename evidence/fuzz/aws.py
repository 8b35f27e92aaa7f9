"""AWS inside this process: records every call of the function and answers immediately, without a network."""

import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any, cast

import boto3
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from urllib3 import HTTPResponse

from openai_webhooks_cli.samples import DEVELOPMENT_SECRET

ENDPOINT = "fuzz"
"""The name of the signing secret."""

_ANSWERS: Mapping[str, object] = {
    "GetSecretValue": {"SecretString": f"{ENDPOINT}={DEVELOPMENT_SECRET}"},
    "PutItem": {},
    "PutEvents": {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]},
    "UpdateItem": {},
}


class Aws:
    """The calls since the last `forget`, and the entries that they put on the bus."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.entries: list[dict[str, Any]] = []

    def answer(self, request: AWSPreparedRequest, event_name: str, **_: object) -> AWSResponse:
        """Answer a call. botocore sends nothing if a `before-send` handler returns an answer."""
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
    """Replace AWS for every client that boto3 creates from now on."""
    aws = Aws()
    boto3.DEFAULT_SESSION = boto3.Session()
    boto3.DEFAULT_SESSION.events.register("before-send", aws.answer)  # type: ignore[arg-type]  # handlers may return
    return aws
