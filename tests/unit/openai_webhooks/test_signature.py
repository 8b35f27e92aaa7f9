"""Secrets and signatures: published vectors, and cases that break other libraries."""

import contextlib
import hmac
import json
import traceback
from base64 import b64decode, b64encode
from typing import NamedTuple

import pytest
from hypothesis import given, settings, strategies as st

from openai_webhooks import (
    InvalidSecret,
    Unverified,
    decode_named_secret,
    decode_secret,
    parse_signature,
    sign,
    verify,
)


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
    pytest.param(OPENAI, id="openai-python and openai-java"),
    pytest.param(STANDARD_WEBHOOKS, id="standard-webhooks"),
    pytest.param(BATCH, id="batch"),
    pytest.param(
        BATCH._replace(
            body='{"n":"café ☃ 😀"}'.encode(),
            signature="v1,sSjir6GFWDGsgGiLpVRUAXSGI8u4xGG2PbgZw9GPcC4=",
        ),
        id="not ASCII",
    ),
    pytest.param(
        BATCH._replace(body=b"", signature="v1,45sjR3//w/OuwopPUvBkrYunpKvyNWVP6NlvnO5kJOs="), id="empty body"
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
    """Return the headers of OpenAI's vector, with changes. None removes a header."""
    base = {"id": OPENAI.webhook_id, "timestamp": str(NOW), "signature": GOOD}
    return {f"webhook-{name}": value for name, value in (base | changes).items() if value is not None}


def hmac_signature(webhook_id: str, timestamp: str, body: bytes, key: bytes = KEY) -> str:
    """Sign any text. `sign` accepts only an integer as its timestamp."""
    signed = b".".join((webhook_id.encode(), timestamp.encode(), body))
    return "v1," + b64encode(hmac.new(key, signed, "sha256").digest()).decode()


# --- Published vectors


@pytest.mark.parametrize("vector", VECTORS)
def test_sign_returns_published_signature(vector: Vector) -> None:
    key = decode_secret(vector.secret)
    signature = sign(vector.body, webhook_id=vector.webhook_id, timestamp=vector.timestamp, key=key)
    assert signature == vector.signature


@pytest.mark.parametrize("vector", VECTORS)
def test_verify_accepts_published_vector(vector: Vector) -> None:
    signed = headers(id=vector.webhook_id, timestamp=str(vector.timestamp), signature=vector.signature)
    verify(vector.body, signed, keys=[decode_secret(vector.secret)], now=vector.timestamp)


# --- decode_secret


def whsec(key: bytes) -> str:
    return "whsec_" + b64encode(key).decode()


@pytest.mark.parametrize(
    ("secret", "key"),
    [
        pytest.param(BATCH.secret, bytes(range(32)), id="32 bytes"),
        pytest.param(whsec(bytes(24)), bytes(24), id="24 bytes (minimum)"),
        pytest.param(whsec(bytes(64)), bytes(64), id="64 bytes (maximum)"),
        pytest.param("whsec_" + "whsec" * 6 + "wh", b64decode("whsec" * 6 + "wh"), id="key spelled like the prefix"),
        pytest.param(BATCH.secret + "\n", bytes(range(32)), id="trailing newline"),
        pytest.param(f" \t{BATCH.secret}\r\n", bytes(range(32)), id="white space around it"),
    ],
)
def test_secret_decodes_to_its_key(secret: str, key: bytes) -> None:
    assert decode_secret(secret) == key


@pytest.mark.parametrize("name", ["", "a", "x" * 64, "Project-A_1.prod"])
def test_secret_can_have_a_name(name: str) -> None:
    text = f" {name}={BATCH.secret}\n" if name else BATCH.secret
    assert decode_named_secret(text) == (name, bytes(range(32)))


@pytest.mark.parametrize("name", [" ", "whsec_AAAA", "x" * 65, "a/b", "a b", "a=b", "é", "a\n"])
def test_malformed_name_is_rejected_but_not_shown(name: str) -> None:
    with pytest.raises(InvalidSecret, match="the name") as caught:
        decode_named_secret(f"{name}={BATCH.secret}")
    assert BATCH.secret.removeprefix("whsec_") not in str(caught.value)


# What the error names.
NOT_BASE64 = "base64"
NO_PREFIX = "`whsec_`"


@pytest.mark.parametrize(
    ("secret", "named"),
    [
        pytest.param(BATCH.secret.removeprefix("whsec_"), NO_PREFIX, id="no whsec_"),
        pytest.param(BATCH.secret.replace("whsec_", "WHSEC_"), NO_PREFIX, id="WHSEC_"),
        pytest.param("", NO_PREFIX, id="empty"),
        pytest.param("\n", NO_PREFIX, id="only white space"),
        pytest.param("v1," + BATCH.secret, "`v1,`", id="v1,whsec_"),
        pytest.param("whsec_", NOT_BASE64, id="only whsec_"),
        pytest.param("whsec_!!!!", NOT_BASE64, id="not base64"),
        pytest.param(whsec(bytes(23)), NOT_BASE64, id="23 bytes"),
        pytest.param(whsec(bytes(65)), NOT_BASE64, id="65 bytes"),
        pytest.param(BATCH.secret.rstrip("="), NOT_BASE64, id="unpadded"),
        pytest.param(BATCH.secret + "=", NOT_BASE64, id="over-padded"),
        pytest.param(whsec(bytes(24)) + "=", NOT_BASE64, id="padded although complete"),
        pytest.param(BATCH.secret.replace("8=", "9="), NOT_BASE64, id="non-canonical trailing bits"),
        pytest.param(whsec(b"\xff" * 24).replace("/", "_"), NOT_BASE64, id="URL-safe alphabet, _"),
        pytest.param(whsec(b"\xfb\xef\xbe" * 8).replace("+", "-"), NOT_BASE64, id="URL-safe alphabet, -"),
        pytest.param(BATCH.secret.replace("AAEC", "AAEC\n"), NOT_BASE64, id="newline inside"),
        pytest.param(BATCH.secret.replace("AAEC", "AAEC "), NOT_BASE64, id="space inside"),
        pytest.param(f"{BATCH.secret} {BATCH.secret}", NOT_BASE64, id="two secrets"),
        pytest.param(BATCH.secret.replace("A", "é"), NOT_BASE64, id="not ASCII"),
        pytest.param(BATCH.secret.replace("A", "\ud800"), NOT_BASE64, id="lone surrogate"),
    ],
)
def test_invalid_secret_is_rejected_but_not_shown(secret: str, named: str) -> None:
    with pytest.raises(InvalidSecret, match=named) as caught:
        decode_secret(secret)
    encoded = secret.strip().removeprefix("v1,").removeprefix("whsec_")
    assert not encoded or encoded not in "".join(traceback.format_exception(caught.value))


# --- Headers


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"id": None}, "webhook-id", id="no id"),
        pytest.param({"id": ""}, "webhook-id", id="empty id"),
        pytest.param({"timestamp": None}, "webhook-timestamp", id="no timestamp"),
        pytest.param({"timestamp": ""}, "webhook-timestamp", id="empty timestamp"),
        pytest.param({"timestamp": "é\ud800"}, "webhook-timestamp", id="timestamp not ASCII"),
        pytest.param({"timestamp": str(NOW - 301)}, "webhook-timestamp.* 300 s", id="timestamp too old"),
        pytest.param({"signature": None}, "webhook-signature", id="no signature"),
        pytest.param({"signature": ""}, "webhook-signature", id="empty signature"),
        pytest.param({"signature": " \t "}, "webhook-signature", id="blank signature"),
        pytest.param({"signature": f"v1a,x junk é {GOOD_BASE64}"}, "webhook-signature", id="no v1 signature"),
    ],
)
def test_bad_header_is_named(changes: dict[str, str | None], named: str) -> None:
    with pytest.raises(Unverified, match=named):
        parse_signature(headers(**changes), now=NOW)


def test_header_names_are_lower_case() -> None:
    with pytest.raises(Unverified):
        parse_signature({name.title(): value for name, value in headers().items()}, now=NOW)


@pytest.mark.parametrize(
    ("webhook_id", "timestamp"),
    [pytest.param("", str(NOW), id="empty id"), pytest.param(OPENAI.webhook_id, "", id="empty timestamp")],
)
def test_signature_over_empty_header_is_rejected(webhook_id: str, timestamp: str) -> None:
    signature = hmac_signature(webhook_id, timestamp, BODY)
    with pytest.raises(Unverified):
        verify(BODY, headers(id=webhook_id, timestamp=timestamp, signature=signature), keys=[KEY], now=NOW)


def digits(zero: int) -> str:
    """Return the timestamp in the digits of another script. int() and float() accept them."""
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
def test_timestamp_must_be_canonical(timestamp: str) -> None:
    # One signature covers the text, the other covers the number that it spells. The tolerance accepts any age.
    signatures = f"{hmac_signature(OPENAI.webhook_id, timestamp, BODY)} {GOOD}"
    with pytest.raises(Unverified, match="webhook-timestamp"):
        verify(BODY, headers(timestamp=timestamp, signature=signatures), keys=[KEY], now=NOW, tolerance=10**6000)


@pytest.mark.parametrize(
    ("offset", "tolerance", "accepted"),
    [
        pytest.param(-301, 300, False, id="too old"),
        pytest.param(-300, 300, True, id="oldest"),
        pytest.param(0, 300, True, id="now"),
        pytest.param(300, 300, True, id="newest"),
        pytest.param(301, 300, False, id="too new"),
        pytest.param(-5, 5, True, id="5 s, oldest"),
        pytest.param(-6, 5, False, id="5 s, too old"),
        pytest.param(6, 5, False, id="5 s, too new"),
        pytest.param(0, 0, True, id="zero, now"),
        pytest.param(1, 0, False, id="zero, 1 s too new"),
    ],
)
def test_tolerance_is_inclusive(*, offset: int, tolerance: int, accepted: bool) -> None:
    outcome = contextlib.nullcontext() if accepted else pytest.raises(Unverified, match=f" {tolerance} s")
    with outcome:
        verify(BODY, headers(), keys=[KEY], now=NOW - offset, tolerance=tolerance)


def test_default_tolerance_is_300_seconds() -> None:
    verify(BODY, headers(), keys=[KEY], now=NOW + 300)
    with pytest.raises(Unverified):
        verify(BODY, headers(), keys=[KEY], now=NOW + 301)


# --- Signatures


@pytest.mark.parametrize(
    "signature",
    [
        pytest.param(f"{OTHER} {GOOD}", id="after a wrong signature"),
        pytest.param(f"{GOOD} {OTHER}", id="before a wrong signature"),
        pytest.param(f"v1a,{GOOD_BASE64} {GOOD}", id="after an asymmetric signature"),
        pytest.param(f"junk {GOOD}", id="after junk"),
        pytest.param(f"{GOOD} junk", id="before junk"),
        pytest.param(f"v1, {GOOD}", id="after an empty signature"),
        pytest.param(f"v1,!!!! {GOOD}", id="after invalid base64"),
        pytest.param(f"v1,a,b , {GOOD}", id="after a token with two commas"),
        pytest.param(f"{OTHER}  {GOOD}", id="double space"),
        pytest.param(f"{OTHER}\t{GOOD}", id="tab"),
        pytest.param(f"\r\n {GOOD} \r\n", id="white space around it"),
        pytest.param(f"v1,é {GOOD}", id="after a token that is not ASCII"),
        pytest.param(f"{GOOD} é", id="before junk that is not ASCII"),
        pytest.param(f"v1,\ud800 {GOOD}", id="after a lone surrogate"),
        pytest.param(" ".join([OTHER] * 999 + [GOOD]), id="last of 1,000"),
    ],
)
def test_good_signature_is_found(signature: str) -> None:
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
        pytest.param(f"v1,{GOOD}", id="v1, repeated"),
        pytest.param(f"{GOOD},", id="comma after it"),
        pytest.param(f"{OTHER},{GOOD}", id="comma between two signatures"),
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
        pytest.param(OTHER, id="signature of another delivery"),
        pytest.param(" ".join([OTHER] * 1000), id="1,000 wrong signatures"),
    ],
)
def test_bad_signature_is_rejected(signature: str) -> None:
    with pytest.raises(Unverified):
        verify(BODY, headers(signature=signature), keys=[KEY], now=NOW)


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        pytest.param(json.dumps(json.loads(BODY), separators=(",", ":")).encode(), {}, id="body re-serialized"),
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
def test_changed_delivery_is_rejected(body: bytes, changes: dict[str, str | None]) -> None:
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
def test_signed_delivery_is_accepted(webhook_id: str, body: bytes) -> None:
    signature = hmac_signature(webhook_id, str(NOW), body)
    assert sign(body, webhook_id=webhook_id, timestamp=NOW, key=KEY) == signature
    verify(body, headers(id=webhook_id, signature=signature), keys=[KEY], now=NOW)


def test_signature_hides_its_values() -> None:
    signature = parse_signature(headers(), now=NOW)
    text = f"{signature!r} {signature!s} {signature}"
    assert not [value for value in (GOOD_BASE64, OPENAI.webhook_id, str(NOW)) if value in text]


# --- Keys


@pytest.mark.parametrize(
    ("keys", "matches"),
    [
        pytest.param([], False, id="no key"),
        pytest.param([OTHER_KEY], False, id="wrong key"),
        pytest.param([b""], False, id="empty key"),
        pytest.param([KEY], True, id="right key"),
        pytest.param([KEY, b"", OTHER_KEY], True, id="right key first"),
        pytest.param([b"", KEY, OTHER_KEY], True, id="right key second"),
        pytest.param([b"", OTHER_KEY, KEY], True, id="right key last"),
    ],
)
def test_signature_matches_any_right_key(*, keys: list[bytes], matches: bool) -> None:
    signature = parse_signature(headers(), now=NOW)
    assert signature.matches(BODY, keys) is matches
    assert signature.matches(BODY, iter(keys)) is matches
    with contextlib.nullcontext() if matches else pytest.raises(Unverified, match="signing secret"):
        verify(BODY, headers(), keys=keys, now=NOW)


def test_later_keys_can_match_the_same_signature() -> None:
    signature = parse_signature(headers(), now=NOW)
    assert not signature.matches(BODY, [OTHER_KEY])
    assert signature.matches(BODY, [KEY])


@pytest.mark.parametrize("key", [pytest.param(KEY, id="new key"), pytest.param(OTHER_KEY, id="old key")])
def test_delivery_signed_with_two_keys_matches_either(key: bytes) -> None:
    old = hmac_signature(OPENAI.webhook_id, str(NOW), BODY, OTHER_KEY)
    for signature in (f"{old} {GOOD}", f"{GOOD} {old}"):
        verify(BODY, headers(signature=signature), keys=[key], now=NOW)


# --- Any input

ANY_TEXT = st.text(alphabet=st.characters(exclude_categories=()))
DELIVERY_HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "webhook-id": ANY_TEXT,
        "webhook-timestamp": ANY_TEXT | st.integers(NOW - 400, NOW + 400).map(str),
        "webhook-signature": ANY_TEXT | ANY_TEXT.map("v1,{}".format) | ANY_TEXT.map(f"{GOOD} {{}}".format),
    },
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(body=st.binary() | st.just(BODY), any_headers=st.dictionaries(ANY_TEXT, ANY_TEXT) | DELIVERY_HEADERS)
def test_any_delivery_is_accepted_or_unverified(body: bytes, any_headers: dict[str, str]) -> None:
    with contextlib.suppress(Unverified):
        verify(body, any_headers, keys=[KEY, OTHER_KEY], now=NOW)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"id": CANARY}, id="id"),
        pytest.param({"timestamp": CANARY}, id="timestamp"),
        pytest.param({"timestamp": "1234567"}, id="old timestamp"),
        pytest.param({"signature": f"v1,{CANARY}"}, id="signature"),
        pytest.param({"signature": CANARY}, id="no v1 signature"),
        pytest.param({"signature": f"v1,{CANARY}\ud800"}, id="signature not UTF-8"),
    ],
)
def test_error_hides_headers_and_body(changes: dict[str, str | None]) -> None:
    with pytest.raises(Unverified) as caught:
        verify(CANARY.encode(), headers(**changes), keys=[KEY], now=NOW)
    text = "".join(traceback.format_exception(caught.value))
    assert not [value for value in (CANARY, "1234567", GOOD_BASE64, OPENAI.webhook_id) if value in text]
