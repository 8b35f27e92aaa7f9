"""Requests in payload format 2.0, read back by Powertools' own class for them."""

import pytest
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2

from webhooks.gateway import request_event


def test_event_reads_as_a_request() -> None:
    event = APIGatewayProxyEventV2(
        request_event("POST", "/webhooks/openai", {"content-type": "application/json"}, b"{}", now=1_750_861_210)
    )

    assert (event.version, event.route_key, event.raw_path) == ("2.0", "POST /webhooks/openai", "/webhooks/openai")
    assert event.request_context.http.method == "POST"
    assert event.request_context.time_epoch == 1_750_861_210_000
    assert event.request_context.time == "25/Jun/2025:14:20:10 +0000"


@pytest.mark.parametrize(
    ("content_type", "body", "encoded"),
    [
        pytest.param("application/json", b'{"n":"\xc3\xa9"}', False, id="json"),
        pytest.param("text/plain; charset=utf-8", b"x", False, id="text"),
        pytest.param("application/octet-stream", b"{}", True, id="binary"),
        pytest.param("application/json", b"\xff\x00", True, id="json that is not text"),
    ],
)
def test_body_survives(content_type: str, body: bytes, encoded: bool) -> None:  # noqa: FBT001
    event = request_event("POST", "/", {"content-type": content_type}, body, now=1)

    assert event["isBase64Encoded"] is encoded
    if not encoded:
        assert event["body"].encode() == body
    else:
        assert APIGatewayProxyEventV2(event).body != body.decode(errors="replace")
