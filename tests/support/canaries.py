"""Texts that must never be logged, and how to find them in any spelling."""

import traceback
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any, Final

from tests.support.receiver_instance import CANARY, EVENT_ID, SECRET

CANARIES: Final = {
    "a payload, an invalid secret or a message of AWS": CANARY.encode(),
    "a payload": b"resp_123",
    "the id of an event": EVENT_ID.encode(),
    "the signing secret": SECRET.removeprefix("whsec_").encode(),
    "the signing key": b64decode(SECRET.removeprefix("whsec_")),
}
CANARY_BODY: Final = b'{"id": "canary-7d1f", "type": "batch.completed", "created_at": 1, "data": {"id": "canary-7d1f"}}'


def leaks(said: str, request: dict[str, Any] | None = None) -> list[str]:
    """Return the names of the canaries, and of the signatures in the request's header, that are in a text."""
    header = ((request or {}).get("headers") or {}).get("webhook-signature", "")
    signatures = {f"signature {n}": token[3:].encode() for n, token in enumerate(header.split()) if token[3:]}
    return [
        what for what, canary in (CANARIES | signatures).items() if any(text in said for text in _spellings(canary))
    ]


def error_text(error: BaseException) -> str:
    """Return everything that a runtime could print of an exception and of those that caused it."""
    return "".join(f"{e} {e!r} {e.args}" for e in _causes(error)) + "".join(traceback.format_exception(error))


def _spellings(canary: bytes) -> Iterator[str]:
    """Yield the canary as it is, in hex, and in base64 at each of the three offsets, without the edges."""
    yield repr(canary)[2:-1]
    yield canary.hex()
    for offset, changed in enumerate((0, 2, 3)):
        yield b64encode(bytes(offset) + canary).decode().rstrip("=")[changed:-1]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    if error:
        yield error
        yield from _causes(error.__cause__)
        yield from _causes(error.__context__)
