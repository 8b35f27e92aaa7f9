"""The expected result of a delivery, computed with the standard library and without the code under test."""

import hmac
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Never

from evidence.fuzz.deliveries import KEY, NOW, Delivery

LEVELS = 200  # the deepest nesting of JSON that is accepted
_UNCOUNTED = re.compile(rb'"(?:[^"\\]|\\.)*"|\[[ \t\n\r]*\]|\{[ \t\n\r]*\}')
RECENT = frozenset(map(str, range(NOW - 300, NOW + 301)))


class Finding(AssertionError):
    """The code under test did something wrong."""


def right_signature(delivery: Delivery) -> str:
    """Return the signature of a delivery with KEY."""
    webhook_id, timestamp = (delivery.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp"))
    signed = f"{webhook_id}.{timestamp}.".encode(errors="surrogatepass") + delivery.body
    return "v1," + b64encode(hmac.digest(KEY, signed, "sha256")).decode()


def is_authentic(delivery: Delivery) -> bool:
    """Return whether the delivery was signed with KEY, at most 300 s from NOW."""
    return (
        delivery.headers.get("webhook-id", "") != ""
        and delivery.headers.get("webhook-timestamp") in RECENT
        and right_signature(delivery) in re.split(r"[ \t\n\r\v\f]+", delivery.headers.get("webhook-signature", ""))
    )


def event_type(body: bytes) -> str | None:
    """Return the type of the event in the body, or None if the body is not an event."""
    try:
        # Objects become tuples of pairs, which keep duplicate keys.
        fields = json.loads(body.decode(), parse_constant=_refuse, parse_float=_number, object_pairs_hook=tuple)
        json.dumps(fields, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8
    except (ValueError, RecursionError):
        return None
    found = dict(fields).get("type") if isinstance(fields, tuple) else None
    is_event = isinstance(found, str) and 1 <= len(found) <= 128 and _levels(body) <= LEVELS
    return found if is_event else None


def received(event: Mapping[str, Any]) -> bytes | None:
    """Return the bytes of the event's body, or None if it is not valid base64."""
    body = event["body"].encode(errors="surrogatepass")
    try:
        return b64decode(body) if event["isBase64Encoded"] else body
    except ValueError:
        return None


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is not JSON")


def _number(text: str) -> float:
    int(re.split("[.eE]", text)[0])  # Our parser limits the digits before the point too.
    return float(text)


def _levels(body: bytes) -> int:
    """Return the depth of the JSON as our parser counts it: without empty arrays and objects."""
    brackets = (byte for byte in _UNCOUNTED.sub(b"", body) if byte in b"[]{}")
    return max(accumulate(1 if byte in b"[{" else -1 for byte in brackets), default=0)
