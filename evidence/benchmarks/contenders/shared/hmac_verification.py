"""Verification with the standard library and only what a correct answer needs: the fastest possible."""

import hashlib
import hmac
import time
from base64 import b64encode
from collections.abc import Mapping

TOLERANCE = 300  # seconds


def is_authentic(body: bytes, headers: Mapping[str, str], key: bytes) -> bool:
    webhook_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > TOLERANCE:
        return False
    signed = b"%b.%b.%b" % (webhook_id.encode(), timestamp.encode(), body)
    expected = b"v1," + b64encode(hmac.digest(key, signed, hashlib.sha256))
    signatures = headers["webhook-signature"].encode().split()
    return any(hmac.compare_digest(signature, expected) for signature in signatures)
