"""Standard Webhooks signatures, in the symmetric scheme `v1` that OpenAI uses.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Protocol

from openai_webhooks.errors import InvalidSecret, Unverified

# Unix seconds, as senders print them. int() alone also accepts `+1`, ` 1 `, `1_0` and digits of other scripts, and it
# raises ValueError on 5,000 digits.
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,14}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Headers(Protocol):
    """The headers of a request: a dict with lower-case names, or the headers of Flask, Starlette or the like."""

    def get(self, name: str, default: str, /) -> str:
        """Return the value of a header, or the default."""


class Signature:
    """The signature headers of a delivery: well-formed and recent, but not yet compared with a key."""

    def __init__(self, webhook_id: str, timestamp: str, tokens: list[bytes]) -> None:
        self.webhook_id = webhook_id
        self._timestamp = timestamp
        self._tokens = tokens

    def matches(self, body: bytes, keys: Iterable[bytes]) -> bool:
        """Return whether one of `keys` signed `body`, the exact bytes of the request."""
        for key in keys:
            expected = _token(body, self.webhook_id, self._timestamp, key)
            # Compare the base64 text. Several texts decode to the same bytes, and only one of them is canonical.
            if any(hmac.compare_digest(token, expected) for token in self._tokens):
                return True
        return False


def parse_signature(headers: Headers, *, now: int, tolerance: int = 300) -> Signature:
    """Read the signature headers of a delivery. This needs no key.

    `headers` is a dict with lower-case names, as API Gateway passes it, or the headers of a web framework. `now` is in
    Unix seconds, `tolerance` in seconds.
    Raises Unverified if a header is missing or malformed, or if the timestamp is more than `tolerance` from `now`.
    """
    webhook_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    # Bytes, because hmac.compare_digest raises TypeError on text that is not ASCII.
    tokens = headers.get("webhook-signature", "").encode(errors="surrogatepass").split()
    tokens = [token for token in tokens if token.startswith(b"v1,")]
    if not webhook_id:
        raise Unverified("webhook-id is missing")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise Unverified("webhook-timestamp is missing or not in Unix seconds")
    if abs(now - int(timestamp)) > tolerance:
        raise Unverified(f"webhook-timestamp is more than {tolerance} s from this clock")
    if not tokens:
        raise Unverified("webhook-signature is missing or has no v1 signature")
    return Signature(webhook_id, timestamp, tokens)


def verify(body: bytes, headers: Headers, *, keys: Iterable[bytes], now: int, tolerance: int = 300) -> None:
    """Verify the signature of a delivery.

    `body` is the exact bytes of the request. `keys` come from `decode_secret`. For the other arguments, see
    `parse_signature`. Raises Unverified unless one of `keys` signed the delivery within `tolerance` of `now`.
    """
    if not parse_signature(headers, now=now, tolerance=tolerance).matches(body, keys):
        raise Unverified("no active signing secret matches webhook-signature")


def sign(body: bytes, *, webhook_id: str, timestamp: int, key: bytes) -> str:
    """Return the `webhook-signature` header of a delivery made at `timestamp` (Unix seconds)."""
    return _token(body, webhook_id, str(timestamp), key).decode()


def decode_secret(secret: str) -> bytes:
    """Return the key in a signing secret: `whsec_` and the canonical base64 of 24 to 64 bytes.

    White space around the secret is ignored. Raises InvalidSecret for anything else. An empty key or a guessed key
    would let anyone who knows it sign.
    """
    secret = secret.strip()
    if secret.startswith("v1,"):
        raise InvalidSecret("the signing secret starts with `v1,`: store only the part from `whsec_`")
    if not secret.startswith("whsec_"):
        raise InvalidSecret("the signing secret does not start with `whsec_`: store it as OpenAI shows it")
    encoded = secret.removeprefix("whsec_")
    try:
        key = b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if b64encode(key).decode() != encoded or not 24 <= len(key) <= 64:
        raise InvalidSecret("the signing secret is not base64 of 24 to 64 bytes: store all of it, as OpenAI shows it")
    return key


def decode_named_secret(secret: str) -> tuple[str, bytes]:
    """Return the name and the key in `NAME=whsec_…`, or an empty name and the key in `whsec_…`.

    A name says which endpoint the secret is of. Raises InvalidSecret for a malformed name or secret.
    """
    name, separator, value = secret.strip().partition("=whsec_")
    if not separator:
        return "", decode_secret(secret)
    # A secret before the equals sign is no name, which the receiver would log and publish.
    if name.startswith("whsec_") or not _NAME.fullmatch(name):
        raise InvalidSecret("the name before `=whsec_` is not 1 to 64 letters, digits, dots, dashes or underscores")
    return name, decode_secret(f"whsec_{value}")


def _token(body: bytes, webhook_id: str, timestamp: str, key: bytes) -> bytes:
    signed = b"%b.%b.%b" % (webhook_id.encode(errors="surrogatepass"), timestamp.encode(), body)
    return b"v1," + b64encode(hmac.digest(key, signed, hashlib.sha256))
