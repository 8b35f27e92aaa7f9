"""A delivery as a file of the corpus: a line for each header, an empty line, the body to the byte.

A header `isBase64Encoded` makes it a direct invocation: the body is then the text in the Lambda event's field of that
name, which an API Gateway would have made itself.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from openai_webhooks import decode_secret
from proof import ROOT
from webhooks.gateway import PATH, WRITTEN_AT, request_event
from webhooks.samples import DEVELOPMENT_SECRET

NOW = WRITTEN_AT  # what the clock says, in Unix seconds: that of the deliveries in events/
KEY = decode_secret(DEVELOPMENT_SECRET)
CORPUS = Path(__file__).parent / "corpus"

_DIRECT = "isbase64encoded"


@dataclass(frozen=True)
class Delivery:
    headers: Mapping[str, str]
    body: bytes

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """What any bytes stand for. Those that are not UTF-8 become lone surrogates in a header."""
        head, _, body = data.partition(b"\n\n")
        lines = [line.partition(": ") for line in head.decode(errors="surrogateescape").split("\n")]
        return cls({name.lower(): value for name, _, value in lines}, body)

    def encode(self) -> bytes:
        head = "\n".join(f"{name}: {value}" for name, value in self.headers.items())
        return head.encode(errors="surrogateescape") + b"\n\n" + self.body

    def event(self) -> dict[str, Any]:
        """What the function is called with."""
        event = request_event("POST", PATH, self.headers, self.body, now=NOW)
        if _DIRECT in self.headers:
            body = self.body.decode(errors="surrogateescape")
            return event | {"body": body, "isBase64Encoded": self.headers[_DIRECT] == "true"}
        return event


def samples() -> Iterator[tuple[str, bytes]]:
    """The deliveries in events/, each with its name."""
    for path in sorted((ROOT / "events").glob("*.json")):
        event = json.loads(path.read_text())
        yield path.stem, Delivery(event["headers"], event["body"].encode()).encode()
