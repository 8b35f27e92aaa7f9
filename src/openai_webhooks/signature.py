"""Standard Webhooks signatures, the symmetric scheme `v1`, as OpenAI sends them.

Source: https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping

from openai_webhooks.errors import NotConfigured, Unverified

# Unix seconds as JavaScript, Go and Python print them: int() alone would also take `+1`, ` 1 `, `1_0` and
# other scripts' digits, and raise on 5,000 of them.
_TIMESTAMP = re.compile(r"[1-9][0-9]{0,14}")


def decode_secret(secret: str) -> bytes:
    """The key in a signing secret: `whsec_` and the canonical base64 of 24 to 64 bytes.

    White space around the secret is ignored. Raises NotConfigured for anything else: a key must never be
    empty or guessed, for whoever knows it can sign.
    """
    secret = secret.strip()
    if secret.startswith("v1,"):
        raise NotConfigured("the signing secret starts with `v1,`: store it from `whsec_` on")
    if not secret.startswith("whsec_"):
        raise NotConfigured("the signing secret does not start with `whsec_`: store it as OpenAI shows it")
    encoded = secret.removeprefix("whsec_")
    try:
        key = b64decode(encoded, validate=True)
    except ValueError:
        key = b""
    if b64encode(key).decode() != encoded or not 24 <= len(key) <= 64:
        raise NotConfigured("the signing secret is not base64 of 24 to 64 bytes: store it whole, as OpenAI shows it")
    return key


def sign(body: bytes, *, webhook_id: str, timestamp: int, key: bytes) -> str:
    """The `webhook-signature` of a delivery made at `timestamp` (Unix seconds)."""
    return _sign(body, webhook_id, str(timestamp), key).decode()


def verify(body: bytes, headers: Mapping[str, str], *, keys: Iterable[bytes], now: int, tolerance: int = 300) -> None:
    """Raise Unverified unless one of `keys` signed this delivery, at most `tolerance` seconds from `now`.

    `body` is what came over the wire, to the byte; `headers` have lower-case names, as API Gateway passes
    them; `now` is in Unix seconds. `keys` is read only once the headers are well-formed and recent, and only
    as far as the first key that matches, so it may fetch them.
    """
    webhook_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    # Bytes, since hmac.compare_digest raises on text that is not ASCII.
    tokens = headers.get("webhook-signature", "").encode(errors="surrogatepass").split()
    signatures = [token for token in tokens if token.startswith(b"v1,")]
    if not webhook_id:
        raise Unverified("webhook-id is missing")
    if not _TIMESTAMP.fullmatch(timestamp):
        raise Unverified("webhook-timestamp is missing or not in Unix seconds")
    if abs(now - int(timestamp)) > tolerance:
        raise Unverified(f"webhook-timestamp is more than {tolerance} s from this clock")
    if not signatures:
        raise Unverified("webhook-signature is missing or holds no v1 signature")
    for key in keys:
        expected = _sign(body, webhook_id, timestamp, key)
        # The text is compared, not what it decodes to: base64 has several spellings for the same bytes.
        if any(hmac.compare_digest(signature, expected) for signature in signatures):
            return
    raise Unverified("no active signing secret matches webhook-signature")


def _sign(body: bytes, webhook_id: str, timestamp: str, key: bytes) -> bytes:
    signed = b"%b.%b.%b" % (webhook_id.encode(errors="surrogatepass"), timestamp.encode(), body)
    return b"v1," + b64encode(hmac.digest(key, signed, hashlib.sha256))
