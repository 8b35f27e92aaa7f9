"""Requests in payload format 2.0, read back with Powertools' class for them, and the files in events/."""

from base64 import b64decode
from pathlib import Path

import pytest
from aws_lambda_powertools.utilities.data_classes import APIGatewayProxyEventV2

from openai_webhooks_cli.apigw_event import request_event, write_events
from tests.support.paths import ROOT


def test_powertools_reads_event() -> None:
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
        pytest.param("application/json", b"\xff\x00", True, id="json that is not UTF-8"),
    ],
)
def test_body_is_preserved(content_type: str, body: bytes, encoded: bool) -> None:  # noqa: FBT001  # pytest passes it
    event = request_event("POST", "/", {"content-type": content_type}, body, now=1)

    assert event["isBase64Encoded"] is encoded
    assert (b64decode(event["body"]) if encoded else event["body"].encode()) == body


def test_events_folder_is_current(tmp_path: Path) -> None:
    write_events(tmp_path)
    current, generated = _contents(ROOT / "events"), _contents(tmp_path)

    stale = sorted(name for name in current.keys() | generated.keys() if current.get(name) != generated.get(name))
    assert not stale, f"stale files in events/: {', '.join(stale)}. Run `make generate`."


def _contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}
