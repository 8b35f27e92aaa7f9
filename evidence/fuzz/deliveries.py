"""The corpus's file format for a delivery: a line for each header, an empty line, then the exact bytes of the body.

The header `isBase64Encoded` makes the delivery a direct invocation: the body is then the text in the event, and the
header's value is the event's field of the same name. Otherwise API Gateway would create both.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from openai_webhooks import decode_secret
from openai_webhooks_cli.apigw_event import EVENTS_SIGNED_AT, PATH, request_event
from openai_webhooks_cli.samples import DEVELOPMENT_SECRET
from tests.support.paths import ROOT

NOW = EVENTS_SIGNED_AT  # the clock in Unix seconds: the time of the deliveries in events/
KEY = decode_secret(DEVELOPMENT_SECRET)
CORPUS = Path(__file__).parent / "corpus"

_DIRECT = "isbase64encoded"


@dataclass(frozen=True)
class Delivery:
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read any bytes as a delivery. In headers, bytes that are not UTF-8 become lone surrogates."""
        head, _, body = data.partition(b"\n\n")
        lines = [line.partition(": ") for line in head.decode(errors="surrogateescape").split("\n")]
        return cls({name.lower(): value for name, _, value in lines}, body)

    def encode(self) -> bytes:
        """Return the file's content."""
        head = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        return head.encode(errors="surrogateescape") + b"\n\n" + self.body

    def event(self) -> dict[str, Any]:
        """Return the event that the function is invoked with."""
        event = request_event("POST", PATH, self.headers, self.body, now=NOW)
        if _DIRECT in self.headers:
            body = self.body.decode(errors="surrogateescape")
            return event | {"body": body, "isBase64Encoded": self.headers[_DIRECT] == "true"}
        return event


def samples() -> Iterator[tuple[str, bytes]]:
    """Return the name and the file content of each delivery in events/."""
    for path in sorted((ROOT / "events").glob("*.json")):
        event = json.loads(path.read_text())
        yield path.stem, Delivery(event["headers"], event["body"].encode()).encode()
