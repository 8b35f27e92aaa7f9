"""Measure the bytes that a published delivery adds to each log and to the archive.

The function runs with the embedded AWS. Lambda's own log lines have the form that its documentation describes.
"""

import json
import logging
import re
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from evidence.models.inputs import LOG_OVERHEAD
from openai_webhooks_cli import apigw_event, samples
from openai_webhooks_cli.local import sam_template
from openai_webhooks_cli.local.function_pool import FunctionPool
from openai_webhooks_cli.local.moto_aws import MotoAws
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION
from tests.support.paths import ROOT

TEMPLATE = ROOT / "template.yaml"
EVENT_ID = "8f507cfc-0000-4697-b07a-ac58fc914c95"
# What PlatformLogs=true adds. https://docs.aws.amazon.com/lambda/latest/dg/telemetry-schema-reference.html
PLATFORM_LINES = (
    f'{{"time":"2026-01-01T00:00:00.000Z","type":"platform.start","record":{{"requestId":"{EVENT_ID}","version":"12"}}}}\n',
    f'{{"time":"2026-01-01T00:00:00.000Z","type":"platform.report","record":{{"requestId":"{EVENT_ID}","metrics":'
    '{"durationMs":35.741,"billedDurationMs":36,"memorySizeMB":512,"maxMemoryUsedMB":101},"status":"success"}}\n',
)
NAME = "openai-webhooks-ReceiverFunction-AbCdEfGhIjKl"  # a name of the length that CloudFormation generates


class Footprint(NamedTuple):
    """Sizes in bytes."""

    logged: dict[str, int]
    """With the default parameters, by log."""
    platform: int
    """Lambda's own lines, with `PlatformLogs=true`."""
    archived: int


def measure() -> Footprint:
    """Measure the second delivery of an instance. The first is a cold start."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # It would print each request.
    with TemporaryDirectory() as folder, closing(MotoAws()) as aws:
        stack = aws.deploy(TEMPLATE, "openai-webhooks")
        (secret,) = stack.secrets.values()
        aws.client("secretsmanager").put_secret_value(SecretId=secret, SecretString=samples.DEVELOPMENT_SECRET)
        function = stack.functions["ReceiverFunction"]
        with closing(FunctionPool(function._replace(name=NAME), logs=Path(folder))) as pool:
            _publish(pool)
            lines = [f"{line}\n".encode() for line in _publish(pool)]
    if len(lines) != 1:
        raise RuntimeError(f"not one line: {lines}")
    return Footprint(
        logged={
            "the function's line": _logged(lines),
            "the access log": _logged([_access_line().encode()]),
            "the arrival log": _logged([EVENT_ID.encode()]),
        },
        platform=_logged([line.encode() for line in PLATFORM_LINES]),
        archived=len(json.dumps(_event(), separators=(",", ":"))),
    )


def _publish(pool: FunctionPool) -> Sequence[str]:
    """Return the lines that the function printed."""
    answer, lines = pool.invoke(_delivery())
    if answer["statusCode"] != 200:
        raise RuntimeError(f"not a 200: {answer}")
    return lines


def _logged(lines: list[bytes]) -> int:
    return sum(len(line) + int(LOG_OVERHEAD.value) for line in lines)


def _delivery() -> dict[str, Any]:
    now = int(time.time())
    body = samples.encode(samples.sample("response.completed", created_at=now, event_id=samples.new_id("evt_")))
    headers = samples.headers(body, secret=samples.DEVELOPMENT_SECRET, timestamp=now, webhook_id=samples.new_id("wh_"))
    return apigw_event.request_event("POST", apigw_event.PATH, headers, body, now=now)


def _access_line() -> str:
    stage = sam_template.translate(TEMPLATE)["Resources"]["ApiApiGatewayDefaultStage"]["Properties"]
    request = _delivery()["requestContext"]
    values = {
        "requestId": request["requestId"],
        "requestTime": request["time"],
        "identity.sourceIp": "203.0.113.113",
        "routeKey": request["routeKey"],
        "status": "200",
        "responseLatency": "40",
        "responseLength": "24",
        "error.message": "-",
        "integrationErrorMessage": "-",
    }
    return re.sub(r"\$context\.([\w.]+)", lambda found: values[found[1]], stage["AccessLogSettings"]["Format"])


def _event() -> dict[str, Any]:
    """Return the event as the archive stores it."""
    detail = json.loads(_delivery()["body"])
    return {
        "version": "0",
        "id": EVENT_ID,
        "detail-type": detail["type"],
        "source": "openai.com",
        "account": ACCOUNT,
        "time": "2026-01-01T00:00:00Z",
        "region": REGION,
        "resources": [],
        "detail": detail,
    }
