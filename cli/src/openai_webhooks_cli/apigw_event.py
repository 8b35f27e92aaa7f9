"""HTTP requests in the form in which API Gateway's HTTP APIs pass them to a function, and the files in events/.

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from openai_webhooks import CATALOG
from openai_webhooks_cli import samples

PATH = "/webhooks/openai"
"""The path that template.yaml declares. `send` needs it without reading the template; a test compares the two."""
HOST = "abc123.execute-api.us-east-1.amazonaws.com"
EVENTS_SIGNED_AT = 1_750_861_210
"""When the deliveries in events/ were signed, in Unix seconds."""


def request_event(
    method: str, path: str, headers: Mapping[str, str], body: bytes, *, now: int, source_ip: str = "127.0.0.1"
) -> dict[str, Any]:
    """Return a request as an event in payload format 2.0.

    `headers` have lower-case names. `now` is in Unix seconds.
    """
    route = f"{method} {path}"
    # API Gateway passes text as it is, and encodes everything else in base64.
    text = _text(body) if headers.get("content-type", "").startswith(("text/", "application/json")) else None
    return {
        "version": "2.0",
        "routeKey": route,
        "rawPath": path,
        "rawQueryString": "",
        "headers": {**headers, "content-length": str(len(body)), "host": HOST},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc123",
            "domainName": HOST,
            "domainPrefix": "abc123",
            "http": {
                "method": method,
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": source_ip,
                "userAgent": headers.get("user-agent", ""),
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": route,
            "stage": "$default",
            "time": datetime.fromtimestamp(now, UTC).strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": now * 1000,
        },
        "body": b64encode(body).decode() if text is None else text,
        "isBase64Encoded": text is None,
    }


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def write_events(folder: Path) -> None:
    """Write a signed delivery of each event type, for `sam local invoke -e`.

    The files are the same at every run. Their signatures are old and made with the development secret, so only the
    settings for `sam local` accept them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for event_type in CATALOG:
        name = event_type.replace(".", "_")
        body = samples.encode(samples.sample(event_type, created_at=EVENTS_SIGNED_AT, event_id=f"evt_{name}"))
        headers = samples.headers(
            body, secret=samples.DEVELOPMENT_SECRET, timestamp=EVENTS_SIGNED_AT, webhook_id=f"wh_{name}"
        )
        event = request_event("POST", PATH, headers, body, now=EVENTS_SIGNED_AT)
        content = json.dumps(event, indent=2, ensure_ascii=False) + "\n"
        (folder / f"{event_type}.json").write_text(content, encoding="utf-8")
