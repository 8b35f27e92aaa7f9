"""What a delivery deserves, judged by the standard library alone and by none of the code under test."""

import hmac
import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from itertools import accumulate
from typing import Any, Never

from proof.fuzz.deliveries import KEY, NOW, Delivery

LEVELS = 200  # how deep JSON may be nested
_UNCOUNTED = re.compile(rb'"(?:[^"\\]|\\.)*"|\[[ \t\n\r]*\]|\{[ \t\n\r]*\}')
RECENT = frozenset(map(str, range(NOW - 300, NOW + 301)))


class Finding(AssertionError):
    """The code under test did what it must not."""


def right_signature(delivery: Delivery) -> str:
    webhook_id, timestamp = (delivery.headers.get(f"webhook-{name}", "") for name in ("id", "timestamp"))
    signed = f"{webhook_id}.{timestamp}.".encode(errors="surrogatepass") + delivery.body
    return "v1," + b64encode(hmac.digest(KEY, signed, "sha256")).decode()


def is_authentic(delivery: Delivery) -> bool:
    """Whether the delivery was signed with KEY, at most 300 s from NOW."""
    return (
        delivery.headers.get("webhook-id", "") != ""
        and delivery.headers.get("webhook-timestamp") in RECENT
        and right_signature(delivery) in re.split(r"[ \t\n\r\v\f]+", delivery.headers.get("webhook-signature", ""))
    )


def event_type(body: bytes) -> str | None:
    """The type of the event in the body, or None where it is none."""
    try:
        # Objects become tuples of pairs, so that a key that comes twice is seen twice.
        fields = json.loads(body.decode(), parse_constant=_refuse, parse_float=_number, object_pairs_hook=tuple)
        json.dumps(fields, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8
    except (ValueError, RecursionError):
        return None
    found = dict(fields).get("type") if isinstance(fields, tuple) else None
    is_event = isinstance(found, str) and 1 <= len(found) <= 128 and _levels(body) <= LEVELS
    return found if is_event else None


def received(event: Mapping[str, Any]) -> bytes | None:
    """The bytes that the event's body stands for, or None where they can't be told."""
    body = event["body"].encode(errors="surrogatepass")
    try:
        return b64decode(body) if event["isBase64Encoded"] else body
    except ValueError:
        return None


def _refuse(constant: str) -> Never:
    raise ValueError(f"{constant} is not JSON")


def _number(text: str) -> float:
    int(re.split("[.eE]", text)[0])  # what Python refuses as an integer, our parser refuses before a point too
    return float(text)


def _levels(body: bytes) -> int:
    """How deep the JSON is nested, to our parser: it doesn't count what is empty."""
    brackets = (byte for byte in _UNCOUNTED.sub(b"", body) if byte in b"[]{}")
    return max(accumulate(1 if byte in b"[{" else -1 for byte in brackets), default=0)
