"""API Gateway's HTTP API, payload format 2.0: its requests, and the answers to them.

Source: https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from openai_webhooks import Unverified
from receiver.receiver import Receiver
from receiver.rejections import REJECTIONS, rejection_of
from receiver.telemetry import Telemetry

_REJECTED = tuple(REJECTIONS)


def respond(request: Mapping[str, Any], receiver: Receiver, telemetry: Telemetry, *, now: int) -> dict[str, Any]:
    """Answer a request. `now` is in Unix seconds."""
    # API Gateway makes the names lower-case; `sam local start-api` passes them as they arrive.
    headers = {name.lower(): value for name, value in (request.get("headers") or {}).items()}
    # Anyone can send an id of 10 KB, and you pay for the log by the byte. OpenAI's ids have 35 characters.
    telemetry.identify(headers.get("webhook-id", "")[:128])
    try:
        outcome = receiver.receive(_body(request), headers, now)
    except _REJECTED as error:
        rejection = rejection_of(error)
        telemetry.rejected(rejection.outcome, reason=str(error))
        return _answer(rejection.status, {"error": rejection.outcome}, rejection.retry_after)
    telemetry.accepted(outcome)
    return _answer(200, {"outcome": outcome.lower()})


def _body(request: Mapping[str, Any]) -> bytes:
    # API Gateway sends neither lone surrogates nor invalid base64, but anyone who can invoke the function can.
    body: bytes = (request.get("body") or "").encode(errors="surrogatepass")
    if not request.get("isBase64Encoded"):
        return body
    try:
        return b64decode(body)
    except ValueError:
        raise Unverified("the body is not base64, although isBase64Encoded is true") from None


def _answer(status: int, body: dict[str, str], retry_after: int | None = None) -> dict[str, Any]:
    headers = {"content-type": "application/json"}
    if retry_after:
        headers["retry-after"] = str(retry_after)
    return {"statusCode": status, "headers": headers, "body": json.dumps(body)}
