"""Mutations of deliveries: change something, then sign the delivery again, or not.

libFuzzer's own mutations are guided by coverage and change the body, a header or everything. The other mutations know
the format. Without them, a mutated delivery would hardly ever be signed, and a mutated body would hardly ever be JSON.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from random import Random

import atheris

from evidence.fuzz.deliveries import NOW, Delivery
from evidence.fuzz.oracle import right_signature
from openai_webhooks import CATALOG

MAX_SIZE = 16_384  # bytes; evidence.attacks.costs has larger deliveries

_VALUE = re.compile(rb'"[^"\\]*"|-?[0-9]+|true|false|null|\{\}|\[\]')
_VALUES = [
    *[b"null", b"true", b"0", b"-1", b"1.5", b"1e999", b"-0", b"01", b"NaN", b"-Infinity", b"9" * 4300, b"9" * 4301],
    *[b'""', b'"\\ud800"', b'"\\ud83d\\ude00"', b'"\xff"', b'"\xed\xa0\x80"', b'"\\u0000"', b'"' + b"t" * 129 + b'"'],
    *[b"[]", b"{}", b"[" * 199 + b"]" * 199, b"[" * 200 + b"]" * 200, b"[" * 5000 + b"]" * 5000, b'{"type":"x"}'],
    *[b'"%b"' % name for name in (b"id", b"type", b"data", b"sip_headers", b"created_at", b"object")],
    *[b'"%b"' % event_type.encode() for event_type in CATALOG],
]
_TIMESTAMPS = ["{}", "+{}", "-{}", "0{}", " {}", "{}\t", "{}.0", "{:_}", "{}e0", "{:x}", "\u0661{}", "{}" + "0" * 4300]
_OFFSETS = [-301, -300, -299, 0, 299, 300, 301]
_SPELLINGS: list[Callable[[str], str]] = [
    lambda signature: signature.removeprefix("v1,"),
    lambda signature: signature.replace("v1,", "v1a,"),
    lambda signature: signature.replace("v1,", "V1,"),
    lambda signature: signature.rstrip("="),
    lambda signature: signature + "=",
    lambda signature: signature[:-2] + chr(ord(signature[-2:-1] or "a") ^ 1) + "=",
    lambda signature: signature.replace("+", "-").replace("/", "_"),
    lambda signature: "v1,é junk v1, " + signature,
    lambda signature: signature + " v1,AAAA",
    lambda signature: signature + "\udc80",
    lambda signature: signature.replace(" ", "\t\v\f\r") + "\x1cv1,",
    lambda signature: f"{signature},{signature}",
]

type Change = Callable[[Delivery, Random], Delivery]


def _mutate_body(delivery: Delivery, _random: Random) -> Delivery:
    return replace(delivery, body=atheris.Mutate(delivery.body, MAX_SIZE))


def _replace_value(delivery: Delivery, random: Random) -> Delivery:
    places = [match.span() for match in _VALUE.finditer(delivery.body)]
    start, end = random.choice(places or [(0, 0)])
    return replace(delivery, body=delivery.body[:start] + random.choice(_VALUES) + delivery.body[end:])


def _mutate_all(delivery: Delivery, _random: Random) -> Delivery:
    return Delivery.decode(atheris.Mutate(delivery.encode(), MAX_SIZE))


def _mutate_header(delivery: Delivery, random: Random) -> Delivery:
    name = random.choice(list(delivery.headers))
    value = delivery.headers[name].encode(errors="surrogateescape")
    mutated = atheris.Mutate(value, MAX_SIZE).replace(b"\n", b"")
    return _with(delivery, name, mutated.decode(errors="surrogateescape"))


def _remove_header(delivery: Delivery, random: Random) -> Delivery:
    removed = random.choice(list(delivery.headers))
    return replace(delivery, headers={name: value for name, value in delivery.headers.items() if name != removed})


def _set_timestamp(delivery: Delivery, random: Random) -> Delivery:
    timestamp = random.choice(_TIMESTAMPS).format(NOW + random.choice(_OFFSETS))
    return _with(delivery, "webhook-timestamp", timestamp)


def _invoke_directly(delivery: Delivery, random: Random) -> Delivery:
    return _with(delivery, "isbase64encoded", random.choice(["true", "false"]))


def _sign(delivery: Delivery, _random: Random) -> Delivery:
    return _with(delivery, "webhook-signature", right_signature(delivery))


def _respell(delivery: Delivery, random: Random) -> Delivery:
    signature = delivery.headers.get("webhook-signature", "")
    return _with(delivery, "webhook-signature", random.choice(_SPELLINGS)(signature))


def _leave(delivery: Delivery, _random: Random) -> Delivery:
    return delivery


def _with(delivery: Delivery, name: str, value: str) -> Delivery:
    return replace(delivery, headers={**delivery.headers, name: value})


_OF_BODY: list[Change] = [_mutate_body, _replace_value]
_OF_ALL: list[Change] = [
    *[_mutate_all, _mutate_header, _remove_header, _set_timestamp, _invoke_directly],
    *_OF_BODY * 2,
]
_SIGNING: list[Change] = [_leave, _sign, _sign]
_SPELLING: list[Change] = [_leave, _leave, _respell]


def _apply(data: bytes, max_size: int, seed: int, *changes: list[Change]) -> bytes:
    random = Random(seed)  # a run can be repeated with libFuzzer's seed
    delivery = Delivery.decode(data)
    for choices in changes:
        delivery = random.choice(choices)(delivery, random)
    return delivery.encode()[:max_size]


def change_body(data: bytes, max_size: int, seed: int) -> bytes:
    """Return the next input of a target that reads the body only."""
    return _apply(data, max_size, seed, _OF_BODY)


def change_delivery(data: bytes, max_size: int, seed: int) -> bytes:
    """Return the next input of a target that reads the whole delivery."""
    return _apply(data, max_size, seed, _OF_ALL, _SIGNING, _SPELLING)
