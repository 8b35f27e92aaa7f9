"""Deliveries of all kinds, judged by us, openai-python and standardwebhooks, and the named reasons for differences."""

import contextlib
import hmac
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Self
from unittest import mock

from hypothesis import strategies as st
from openai import OpenAI
from standardwebhooks import Webhook

from openai_webhooks import InvalidSecret, Unverified, decode_secret, verify

NOW = 1750861210


def whsec(key: bytes) -> str:
    return "whsec_" + b64encode(key).decode()


KEY = bytes(range(32))
SECRET, OTHER_SECRET = whsec(KEY), whsec(KEY[:24])
USABLE_SECRETS = [SECRET, OTHER_SECRET, whsec(b"\xfe" * 64)]
BODY = b'{"id":"evt_1","object":"event","created_at":1750861210,"type":"batch.completed","data":{"id":"batch_1"}}'
CLIENT = OpenAI(api_key="unused")


@dataclass(frozen=True)
class Delivery:
    body: bytes
    webhook_id: str
    timestamp: str
    signature: str
    secrets: list[str]
    right: list[str]
    """`v1,` and the base64 of the right HMAC. There are several, because the libraries read secrets and timestamps
    differently. A forgery has none.
    """

    @property
    def headers(self) -> dict[str, str]:
        return {
            "webhook-id": self.webhook_id,
            "webhook-timestamp": self.timestamp,
            "webhook-signature": self.signature,
        }


# --- The three judges


class StoppedClock(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(NOW, tz)


@contextmanager
def stopped_clock() -> Iterator[None]:
    """Stop the clock that the libraries read, so that the limits of the tolerance are exact."""
    with (
        mock.patch("openai.lib._webhooks.time", mock.NonCallableMock(time=lambda: NOW)),
        mock.patch("standardwebhooks.webhooks.datetime", StoppedClock),
    ):
        yield


def succeeds(call: Callable[[], object], *failures: type[Exception]) -> bool:
    """Return whether a call succeeds instead of raising one of `failures`."""
    with contextlib.suppress(*failures):
        call()
        return True
    return False


# The libraries accept one secret only. Any exception means that they refuse the delivery.


def openai_accepts(delivery: Delivery, secret: str) -> bool:
    verify_signature = CLIENT.webhooks.verify_signature
    return succeeds(lambda: verify_signature(delivery.body, delivery.headers, secret=secret), Exception)


def standardwebhooks_accepts(delivery: Delivery, secret: str) -> bool:
    return succeeds(lambda: Webhook(secret).verify(delivery.body, delivery.headers, json_parse=False), Exception)


def we_accept(delivery: Delivery) -> bool:
    def call() -> None:
        keys = [decode_secret(secret) for secret in delivery.secrets]
        verify(delivery.body, delivery.headers, keys=keys, now=NOW)

    return succeeds(call, Unverified, InvalidSecret)


def verdicts(delivery: Delivery) -> tuple[bool, bool, bool]:
    """Return whether we, openai-python and standardwebhooks accept a delivery."""
    return (
        we_accept(delivery),
        any(openai_accepts(delivery, secret) for secret in delivery.secrets),
        any(standardwebhooks_accepts(delivery, secret) for secret in delivery.secrets),
    )


# --- The reasons why we differ from both libraries. There must be no others.


def has_white_space_before_a_secret(delivery: Delivery) -> bool:
    """Return whether white space precedes a secret. We remove it. Each library then uses another key."""
    return any(secret != secret.lstrip() for secret in delivery.secrets)


def has_no_right_signature(delivery: Delivery) -> bool:
    """Return whether no signature is right if secrets are read as the specification says: as base64."""
    keys = [b64decode(secret.strip().removeprefix("whsec_")) for secret in delivery.secrets if is_usable(secret)]
    right = right_signatures(delivery.body, delivery.webhook_id, [delivery.timestamp], keys)
    return set(right).isdisjoint(re.split(r"[ \t\n\r\v\f]+", delivery.signature))


def is_usable(secret: str) -> bool:
    return secret.strip() in USABLE_SECRETS


STRICTNESSES: dict[str, Callable[[Delivery], bool]] = {
    "timestamp is not canonical digits": lambda d: not re.fullmatch("[1-9][0-9]*", d.timestamp),
    "a secret is not whsec_ and canonical base64 of 24 to 64 bytes": lambda d: not all(map(is_usable, d.secrets)),
    "no right signature between ASCII white space": has_no_right_signature,
    "white space before a secret": has_white_space_before_a_secret,
}
LENIENCIES: dict[str, Callable[[Delivery], bool]] = {
    "body is not UTF-8": lambda d: not succeeds(d.body.decode, UnicodeDecodeError),
    "webhook-id is not UTF-8": lambda d: not succeeds(d.webhook_id.encode, UnicodeEncodeError),
    "webhook-signature is not ASCII": lambda d: not d.signature.isascii(),
    "white space before a secret": has_white_space_before_a_secret,
}


# --- Deliveries: a valid delivery in which up to two parts are changed

BODIES = st.binary(max_size=20) | st.text(max_size=20).map(str.encode)
IDS = st.sampled_from(["", "wh.1", " wh_1", "wh_é", "wh_\ud800"]) | st.text(max_size=10)
TIMES = st.sampled_from([NOW - 301, NOW - 300, NOW - 299, NOW + 299, NOW + 300, NOW + 301, 0, -NOW, 10**15])
TIMESTAMPS = st.sampled_from(
    [
        *["+{}", "-{}", "0{}", "{}.0", "{}.9", "{}e0", "{:_}", "{:x}", "{}" + "0" * 5000],
        *[" {}", "{} ", "{}\n", "é{}", "nan", ""],
        # Arabic digits after the first digit, which int() and float() accept.
        "1\u0667\u0665\u0660\u0668\u0666\u0661\u0662\u0661\u0660",
    ]
)
SECRETS = st.sampled_from(
    [
        *[*USABLE_SECRETS, SECRET + "\n", " " + SECRET, "\t" + SECRET, SECRET.removeprefix("whsec_"), "v1," + SECRET],
        *[SECRET.rstrip("="), SECRET + "=", SECRET.replace("8=", "9="), SECRET.replace("AAEC", "AA EC")],
        *[whsec(bytes(16)), whsec(bytes(65)), whsec(b"\xfb\xff\xbe" * 8).replace("/", "_")],
        *["", "whsec_", "whsec_!!!!", "whsec_é"],
    ]
)
PARTS = ["body", "id", "time", "timestamp", "secret", "secrets", "spelling", "junk", "separator", "forgery"]
SPELLINGS: list[Callable[[str], str]] = [
    lambda right: right.removeprefix("v1,"),
    lambda right: right.replace("v1,", "V1,"),
    lambda right: right.replace("v1,", "v1a,"),
    lambda right: "v1," + b64decode(right.removeprefix("v1,")).hex(),
    lambda right: right.rstrip("="),
    lambda right: right + "=",
    lambda right: right + "\x1cv1,",
    lambda right: right + "\u2003v1,",
    lambda right: right[:-2] + chr(ord(right[-2]) + 1) + "=",
    lambda right: right.replace("+", "-").replace("/", "_"),
]
JUNK = st.sampled_from(["junk", "v1,", ",", "v1,a,b", "v1,AAAA", "v1a,AAAA", "é", "v1,é", "v1,\ud800", ""])
SEPARATORS = st.sampled_from([" ", "  ", "\t", "\n", ",", "\xa0", "\x1c"])


def keys_in(secret: str) -> list[bytes]:
    """Return the keys that the three judges can read from a secret: text, or base64 without the prefix."""
    keys = [secret.encode()]
    with contextlib.suppress(ValueError):
        keys.append(b64decode(secret.removeprefix("whsec_") + "=="))
    with contextlib.suppress(ValueError):
        keys.append(b64decode(secret.strip().removeprefix("whsec_") + "=="))
    return keys


def right_signatures(body: bytes, webhook_id: str, timestamps: list[str], keys: list[bytes]) -> list[str]:
    messages = [f"{webhook_id}.{text}.".encode(errors="surrogatepass") + body for text in timestamps]
    digests = [hmac.digest(key, message, "sha256") for key in keys for message in messages]
    return list(dict.fromkeys("v1," + b64encode(digest).decode() for digest in digests))


@st.composite
def deliveries(draw: st.DrawFn) -> Delivery:
    changed = draw(st.sets(st.sampled_from(PARTS), max_size=2))
    body = draw(BODIES) if "body" in changed else BODY
    webhook_id = draw(IDS) if "id" in changed else "wh_test"
    time = draw(TIMES) if "time" in changed else NOW
    timestamp = draw(TIMESTAMPS).format(time) if "timestamp" in changed else str(time)
    secret = draw(SECRETS) if "secret" in changed else SECRET
    secrets = draw(st.permutations([secret, OTHER_SECRET])) if "secrets" in changed else [secret]
    keys = draw(st.lists(st.sampled_from(keys_in(secret)), min_size=1, max_size=3)) if "secret" in changed else [KEY]

    tokens = right = right_signatures(body, webhook_id, [timestamp, str(time)], keys)
    if "spelling" in changed:
        spellings = draw(st.lists(st.sampled_from(SPELLINGS), min_size=1, max_size=3))
        tokens = [spell(token) for spell in spellings for token in tokens]
    if "junk" in changed:
        tokens = draw(st.permutations([*tokens, *draw(st.lists(JUNK, min_size=1, max_size=3))]))
    separator = draw(SEPARATORS) if "separator" in changed else " "
    delivery = Delivery(body, webhook_id, timestamp, separator.join(tokens), secrets, right)
    return draw(forgeries(delivery)) if "forgery" in changed else delivery


def forgeries(delivery: Delivery) -> st.SearchStrategy[Delivery]:
    """Return deliveries that differ from what was signed."""
    return st.one_of(
        st.just(replace(delivery, body=delivery.body + b" ", right=[])),
        st.just(replace(delivery, webhook_id=delivery.webhook_id + "0", right=[])),
        st.just(replace(delivery, timestamp=str(NOW + 1), right=[])),
        st.just(replace(delivery, secrets=[whsec(b"\xff" * 48)], right=[])),
    )


# --- The outcome


def outcomes(delivery: Delivery) -> list[str]:
    """Return the verdict on a delivery and the named differences.

    Raises AssertionError if a difference has no named reason, or if a forgery is accepted.
    """
    ours, *theirs = verdicts(delivery)
    assert delivery.right or not ours, "a forgery was accepted"
    verdict = "accepted" if ours else "refused"
    if any(theirs) and not all(theirs):
        return [verdict, "the libraries differ"]
    if ours in theirs:
        return [verdict]
    names = [name for name, applies in (LENIENCIES if ours else STRICTNESSES).items() if applies(delivery)]
    assert names, f"{verdict} by us only, without a named reason"
    return [verdict, *(f"{verdict} by us only: {name}" for name in names)]
