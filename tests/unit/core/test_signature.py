"""Secrets and signatures: the published vectors, and the cases that break other libraries."""

import contextlib
import hmac
import json
import traceback
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings, strategies as st

from openai_webhooks import NotConfigured, Unverified, decode_secret, sign, verify


class Vector(NamedTuple):
    secret: str
    webhook_id: str
    timestamp: int
    body: bytes
    signature: str


OPENAI = Vector(
    secret="whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c=",
    webhook_id="wh_685c059ae39c8190af8c71ed1022a24d",
    timestamp=1750861210,
    body=(
        b'{"id": "evt_685c059ae3a481909bdc86819b066fb6", "object": "event", "created_at": 1750861210,'
        b' "type": "response.completed", "data": {"id": "resp_123"}}'
    ),
    signature="v1,gUAg4R2hWouRZqRQG4uJypNS8YK885G838+EHb4nKBY=",
)
STANDARD_WEBHOOKS = Vector(
    secret="whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
    timestamp=1614265330,
    body=b'{"test": 2432232314}',
    signature="v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
)
BATCH = Vector(
    secret="whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    webhook_id="wh_test",
    timestamp=1750861210,
    body=b'{"id":"evt_1","object":"event","created_at":1750861210,"type":"batch.completed","data":{"id":"batch_1"}}',
    signature="v1,Xi5rsBdOgWvgyZOu2v8yU82y/pzEIFhGrq/2JS5XACU=",
)
VECTORS = [
    pytest.param(OPENAI, id="A openai-python and openai-java"),
    pytest.param(STANDARD_WEBHOOKS, id="B standard-webhooks"),
    pytest.param(BATCH, id="C 32 bytes, a batch"),
    pytest.param(
        BATCH._replace(
            body='{"n":"café ☃ 😀"}'.encode(),
            signature="v1,sSjir6GFWDGsgGiLpVRUAXSGI8u4xGG2PbgZw9GPcC4=",
        ),
        id="C not ASCII",
    ),
    pytest.param(
        BATCH._replace(body=b"", signature="v1,45sjR3//w/OuwopPUvBkrYunpKvyNWVP6NlvnO5kJOs="), id="C empty body"
    ),
]

NOW = OPENAI.timestamp
BODY = OPENAI.body
KEY = decode_secret(OPENAI.secret)
OTHER_KEY = bytes(range(32))
GOOD = OPENAI.signature
GOOD_BASE64 = GOOD.removeprefix("v1,")
OTHER = BATCH.signature
CANARY = "c4n4ry"


def headers(**changes: str | None) -> dict[str, str]:
    """Vector A's, with changes; None takes one away."""
    base = {"id": OPENAI.webhook_id, "timestamp": str(NOW), "signature": GOOD}
    return {f"webhook-{name}": value for name, value in (base | changes).items() if value is not None}


def hmac_signature(webhook_id: str, timestamp: str, body: bytes, key: bytes = KEY) -> str:
    """A signature over any texts, the ill-formed included: what `sign` cannot be asked for."""
    signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
    return "v1," + b64encode(hmac.new(key, signed, "sha256").digest()).decode()


def unread() -> Iterator[bytes]:
    """Keys that nobody may ask for."""
    pytest.fail("the keys were read")
    yield KEY


# --- The published vectors


@pytest.mark.parametrize("vector", VECTORS)
def test_sign(vector: Vector) -> None:
    key = decode_secret(vector.secret)
    signature = sign(vector.body, webhook_id=vector.webhook_id, timestamp=vector.timestamp, key=key)
    assert signature == vector.signature


@pytest.mark.parametrize("vector", VECTORS)
def test_verify(vector: Vector) -> None:
    signed = headers(id=vector.webhook_id, timestamp=str(vector.timestamp), signature=vector.signature)
    verify(vector.body, signed, keys=[decode_secret(vector.secret)], now=vector.timestamp)


# --- decode_secret


def whsec(key: bytes) -> str:
    return "whsec_" + b64encode(key).decode()


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        pytest.param(BATCH.secret, bytes(range(32)), id="32 bytes"),
        pytest.param(whsec(bytes(24)), bytes(24), id="24 bytes, the fewest"),
        pytest.param(whsec(bytes(64)), bytes(64), id="64 bytes, the most"),
        pytest.param("whsec_" + "whsec" * 6 + "wh", b64decode("whsec" * 6 + "wh"), id="base64 of the prefix's letters"),
        pytest.param(BATCH.secret + "\n", bytes(range(32)), id="trailing newline"),
        pytest.param(f" \t{BATCH.secret}\r\n", bytes(range(32)), id="white space around it"),
    ],
)
def test_decode_secret(secret: str, key: bytes) -> None:
    assert decode_secret(secret) == key


NOT_BASE64 = "is not base64 of 24 to 64 bytes"
NO_PREFIX = "does not start with `whsec_`"


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        pytest.param(BATCH.secret.removeprefix("whsec_"), NO_PREFIX, id="no whsec_"),
        pytest.param(BATCH.secret.replace("whsec_", "WHSEC_"), NO_PREFIX, id="WHSEC_"),
        pytest.param("", NO_PREFIX, id="empty"),
        pytest.param("\n", NO_PREFIX, id="only white space"),
        pytest.param("v1," + BATCH.secret, "starts with `v1,`: store it from `whsec_` on", id="v1,whsec_"),
        pytest.param("whsec_", NOT_BASE64, id="only whsec_"),
        pytest.param("whsec_!!!!", NOT_BASE64, id="not base64"),
        pytest.param(whsec(bytes(23)), NOT_BASE64, id="23 bytes"),
        pytest.param(whsec(bytes(65)), NOT_BASE64, id="65 bytes"),
        pytest.param(BATCH.secret.rstrip("="), NOT_BASE64, id="unpadded"),
        pytest.param(BATCH.secret + "=", NOT_BASE64, id="over-padded"),
        pytest.param(whsec(bytes(24)) + "=", NOT_BASE64, id="over-padded, where no padding belongs"),
        pytest.param(BATCH.secret.replace("8=", "9="), NOT_BASE64, id="non-canonical trailing bits"),
        pytest.param(whsec(b"\xff" * 24).replace("/", "_"), NOT_BASE64, id="URL-safe alphabet, _"),
        pytest.param(whsec(b"\xfb\xef\xbe" * 8).replace("+", "-"), NOT_BASE64, id="URL-safe alphabet, -"),
        pytest.param(BATCH.secret.replace("AAEC", "AAEC\n"), NOT_BASE64, id="newline inside"),
        pytest.param(f"{BATCH.secret} {BATCH.secret}", NOT_BASE64, id="two secrets"),
        pytest.param(BATCH.secret.replace("A", "é"), NOT_BASE64, id="not ASCII"),
        pytest.param(BATCH.secret.replace("A", "\ud800"), NOT_BASE64, id="lone surrogate"),
    ],
)
def test_decode_secret_refuses(secret: str, says: str) -> None:
    with pytest.raises(NotConfigured) as caught:
        decode_secret(secret)
    assert says in str(caught.value)
    encoded = secret.strip().removeprefix("v1,").removeprefix("whsec_")
    assert not encoded or encoded not in "".join(traceback.format_exception(caught.value))


# --- verify: the headers


def digits(zero: int) -> str:
    """The timestamp in the digits of another script, which int() and float() take too."""
    return "".join(chr(zero + int(digit)) for digit in str(NOW))


TIMESTAMPS = [
    pytest.param(f"+{NOW}", id="plus sign"),
    pytest.param(f"-{NOW}", id="minus sign"),
    pytest.param(f"0{NOW}", id="leading zero"),
    pytest.param(f" {NOW}", id="space before"),
    pytest.param(f"{NOW} ", id="space after"),
    pytest.param(f"{NOW}\n", id="newline after"),
    pytest.param("1_750_861_210", id="underscores"),
    pytest.param(f"{NOW}.0", id="float"),
    pytest.param("1.75086121e9", id="exponent"),
    pytest.param(hex(NOW), id="hexadecimal"),
    pytest.param("nan", id="nan"),
    pytest.param("inf", id="inf"),
    pytest.param("0", id="zero"),
    pytest.param(digits(0x660), id="Arabic digits"),
    pytest.param("1" + digits(0x660)[1:], id="Arabic digits after the first"),
    pytest.param("1" + digits(0xFF10)[1:], id="full-width digits after the first"),
    pytest.param("9" * 5000, id="5,000 digits"),
    pytest.param(f"{NOW}000000", id="16 digits"),
    pytest.param("2025-06-25T14:20:10Z", id="ISO 8601"),
]


@pytest.mark.parametrize("timestamp", TIMESTAMPS)
def test_timestamp_is_canonical(timestamp: str) -> None:
    """Refused however it was signed: over the header's text, or over the number that it spells."""
    signatures = f"{hmac_signature(OPENAI.webhook_id, timestamp, BODY)} {GOOD}"
    with pytest.raises(Unverified, match="webhook-timestamp is missing or not in Unix seconds"):
        verify(BODY, headers(timestamp=timestamp, signature=signatures), keys=unread(), now=NOW)


@pytest.mark.parametrize(
    ("offset", "tolerance", "accepted"),
    [
        pytest.param(-301, 300, False, id="too old"),
        pytest.param(-300, 300, True, id="oldest"),
        pytest.param(0, 300, True, id="now"),
        pytest.param(300, 300, True, id="newest"),
        pytest.param(301, 300, False, id="too new"),
        pytest.param(-5, 5, True, id="custom, oldest"),
        pytest.param(-6, 5, False, id="custom, too old"),
        pytest.param(6, 5, False, id="custom, too new"),
        pytest.param(0, 0, True, id="none, now"),
        pytest.param(1, 0, False, id="none, a second early"),
    ],
)
def test_tolerance(*, offset: int, tolerance: int, accepted: bool) -> None:
    outcome = contextlib.nullcontext() if accepted else pytest.raises(Unverified, match=f"more than {tolerance} s")
    with outcome:
        verify(BODY, headers(), keys=[KEY], now=NOW - offset, tolerance=tolerance)


@pytest.mark.parametrize("late", [pytest.param(300, id="300 s"), pytest.param(301, id="301 s")])
def test_tolerance_is_300_s_unless_said(late: int) -> None:
    with contextlib.nullcontext() if late == 300 else pytest.raises(Unverified):
        verify(BODY, headers(), keys=[KEY], now=NOW + late)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        pytest.param({"id": None}, "webhook-id is missing", id="no id"),
        pytest.param(
            {"id": "", "signature": hmac_signature("", str(NOW), BODY)}, "webhook-id is missing", id="empty id, signed"
        ),
        pytest.param({"timestamp": None}, "webhook-timestamp is missing", id="no timestamp"),
        pytest.param(
            {"timestamp": "", "signature": hmac_signature(OPENAI.webhook_id, "", BODY)},
            "webhook-timestamp is missing",
            id="empty timestamp, signed",
        ),
        pytest.param({"timestamp": "é\ud800"}, "webhook-timestamp is missing", id="timestamp not ASCII"),
        pytest.param({"timestamp": str(NOW - 301)}, "webhook-timestamp is more than 300 s", id="stale timestamp"),
        pytest.param({"signature": None}, "webhook-signature is missing", id="no signature"),
        pytest.param({"signature": ""}, "webhook-signature is missing", id="empty signature"),
        pytest.param({"signature": " \t "}, "webhook-signature is missing", id="blank signature"),
        pytest.param({"signature": "v1a,x junk é"}, "holds no v1 signature", id="no v1 signature"),
    ],
)
def test_headers_are_judged_before_the_keys_are_read(changes: dict[str, str | None], says: str) -> None:
    with pytest.raises(Unverified, match=says):
        verify(BODY, headers(**changes), keys=unread(), now=NOW)


def test_header_names_are_lower_case() -> None:
    with pytest.raises(Unverified):
        verify(BODY, {name.title(): value for name, value in headers().items()}, keys=unread(), now=NOW)


# --- verify: the signatures


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(f"{OTHER} {GOOD}", id="after a wrong one"),
        pytest.param(f"{GOOD} {OTHER}", id="before a wrong one"),
        pytest.param(f"v1a,{GOOD_BASE64} {GOOD}", id="after an asymmetric one"),
        pytest.param(f"junk {GOOD}", id="after junk"),
        pytest.param(f"{GOOD} junk", id="before junk"),
        pytest.param(f"v1, {GOOD}", id="after an empty one"),
        pytest.param(f"v1,!!!! {GOOD}", id="after one that is not base64"),
        pytest.param(f"v1,a,b , {GOOD}", id="after one with two commas"),
        pytest.param(f"{OTHER}  {GOOD}", id="double space"),
        pytest.param(f"{OTHER}\t{GOOD}", id="tab"),
        pytest.param(f"\r\n {GOOD} \r\n", id="white space around it"),
        pytest.param(f"v1,é {GOOD}", id="after one that is not ASCII"),
        pytest.param(f"{GOOD} é", id="before junk that is not ASCII"),
        pytest.param(f"v1,\ud800 {GOOD}", id="after a lone surrogate"),
        pytest.param(" ".join([OTHER] * 999 + [GOOD]), id="the last of 1,000"),
    ],
)
def test_signature_counts(signature: str) -> None:
    verify(BODY, headers(signature=signature), keys=[KEY], now=NOW)


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(GOOD_BASE64, id="bare base64"),
        pytest.param(f"V1,{GOOD_BASE64}", id="V1"),
        pytest.param(f"v2,{GOOD_BASE64}", id="v2"),
        pytest.param(f"v1a,{GOOD_BASE64}", id="v1a"),
        pytest.param(f"v11,{GOOD_BASE64}", id="v11"),
        pytest.param(f"v1:{GOOD_BASE64}", id="colon"),
        pytest.param(f"v1, {GOOD_BASE64}", id="space after the comma"),
        pytest.param(f"v1,{GOOD}", id="v1, twice"),
        pytest.param(f"{GOOD},", id="comma after it"),
        pytest.param(f"{OTHER},{GOOD}", id="comma between two"),
        pytest.param(f'"{GOOD}"', id="quoted"),
        pytest.param(f"v1,{b64decode(GOOD_BASE64).hex()}", id="hexadecimal"),
        pytest.param(GOOD.rstrip("="), id="unpadded"),
        pytest.param(GOOD + "=", id="over-padded"),
        pytest.param(GOOD.replace("Y=", "Z="), id="non-canonical trailing bits"),
        pytest.param(GOOD.replace("+", "-"), id="URL-safe alphabet"),
        pytest.param(GOOD.swapcase().replace("V1,", "v1,"), id="case swapped"),
        pytest.param(GOOD[:-1] + "é", id="not ASCII"),
        pytest.param(GOOD[:-1] + "\ud800", id="lone surrogate"),
        pytest.param(GOOD[:-2], id="cut short"),
        pytest.param("v1,", id="empty"),
        pytest.param(OTHER, id="another delivery's"),
        pytest.param(" ".join([OTHER] * 1000), id="1,000 wrong ones"),
    ],
)
def test_signature_does_not_count(signature: str) -> None:
    with pytest.raises(Unverified):
        verify(BODY, headers(signature=signature), keys=[KEY], now=NOW)


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        pytest.param(json.dumps(json.loads(BODY), separators=(",", ":")).encode(), {}, id="body re-serialised"),
        pytest.param(BODY + b"\n", {}, id="newline after the body"),
        pytest.param(b"\xef\xbb\xbf" + BODY, {}, id="BOM before the body"),
        pytest.param(BODY.replace(b"resp_123", b"resp_124"), {}, id="body forged"),
        pytest.param(b"", {}, id="body cut off"),
        pytest.param(BODY, {"id": OPENAI.webhook_id + "0"}, id="id"),
        pytest.param(BODY, {"id": f" {OPENAI.webhook_id}"}, id="space before the id"),
        pytest.param(BODY, {"id": "wh_é"}, id="id not ASCII"),
        pytest.param(BODY, {"id": "wh_\ud800"}, id="lone surrogate in the id"),
        pytest.param(BODY, {"timestamp": str(NOW + 1)}, id="timestamp"),
    ],
)
def test_all_that_is_signed_counts(body: bytes, changes: dict[str, str | None]) -> None:
    with pytest.raises(Unverified):
        verify(body, headers(**changes), keys=[KEY], now=NOW)


@pytest.mark.parametrize(
    ("webhook_id", "body"),
    [
        pytest.param("wh_1", b'{"n":"\xff"}', id="body that is not UTF-8"),
        pytest.param("wh_1", b"\r\n {} \n", id="body with white space around it"),
        pytest.param("wh_1", b"\0" * 10_000_000, id="body of 10 MB"),
        pytest.param("wh_é", BODY, id="id that is not ASCII"),
    ],
)
def test_whatever_is_signed_is_verified(webhook_id: str, body: bytes) -> None:
    signature = hmac_signature(webhook_id, str(NOW), body)
    assert sign(body, webhook_id=webhook_id, timestamp=NOW, key=KEY) == signature
    verify(body, headers(id=webhook_id, signature=signature), keys=[KEY], now=NOW)


# --- verify: the keys


@pytest.mark.parametrize("position", range(3))
def test_every_key_is_tried(position: int) -> None:
    keys = [bytes([i]) * 32 for i in range(3)]
    signature = hmac_signature(OPENAI.webhook_id, str(NOW), BODY, keys[position])
    verify(BODY, headers(signature=signature), keys=keys, now=NOW)


def test_every_signature_is_tried_with_every_key() -> None:
    old = hmac_signature(OPENAI.webhook_id, str(NOW), BODY, OTHER_KEY)
    for signature in (f"{old} {GOOD}", f"{GOOD} {old}"):
        for key in (KEY, OTHER_KEY):
            verify(BODY, headers(signature=signature), keys=[key], now=NOW)


@pytest.mark.parametrize(
    "keys", [pytest.param([], id="none"), pytest.param([OTHER_KEY], id="wrong"), pytest.param([b""], id="empty")]
)
def test_no_key_matches(keys: list[bytes]) -> None:
    with pytest.raises(Unverified, match="no active signing secret matches"):
        verify(BODY, headers(), keys=keys, now=NOW)


def test_keys_are_read_as_far_as_the_first_match() -> None:
    def keys() -> Iterator[bytes]:
        yield OTHER_KEY
        yield KEY
        pytest.fail("the keys were read on after the match")

    verify(BODY, headers(), keys=keys(), now=NOW)


# --- verify: whatever comes

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))
DELIVERY_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "webhook-id": ANY_TEXT,
        "webhook-timestamp": ANY_TEXT | st.integers(NOW - 400, NOW + 400).map(str),
        "webhook-signature": ANY_TEXT | ANY_TEXT.map("v1,{}".format) | ANY_TEXT.map(f"{GOOD} {{}}".format),
    },
)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(body=st.binary() | st.just(BODY), any_headers=st.dictionaries(ANY_TEXT, ANY_TEXT) | DELIVERY_HEADERS)
def test_anything_is_answered(body: bytes, any_headers: dict[str, str]) -> None:
    """Accepted or Unverified, and no other exception."""
    with contextlib.suppress(Unverified):
        verify(body, any_headers, keys=[KEY, OTHER_KEY], now=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"id": CANARY}, id="id"),
        pytest.param({"timestamp": CANARY}, id="timestamp"),
        pytest.param({"timestamp": "1234567"}, id="stale timestamp"),
        pytest.param({"signature": f"v1,{CANARY}"}, id="signature"),
        pytest.param({"signature": CANARY}, id="junk"),
        pytest.param({"signature": f"v1,{CANARY}\ud800"}, id="signature not UTF-8"),
    ],
)
def test_errors_are_silent_about_values(changes: dict[str, str | None]) -> None:
    with pytest.raises(Unverified) as caught:
        verify(CANARY.encode(), headers(**changes), keys=[KEY], now=NOW)
    text = "".join(traceback.format_exception(caught.value))
    assert not [value for value in (CANARY, "1234567", GOOD_BASE64, OPENAI.webhook_id) if value in text]
