"""Deliveries that cost time or memory, and what each costs. The program for it is evidence.attacks.costly_deliveries.

This module imports little, because the memory of its process is measured.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from evidence.fuzz.deliveries import NOW, Delivery
from evidence.fuzz.oracle import right_signature

MIB = 1024 * 1024
PAYLOAD = 6 * MIB  # Lambda's limit for an event, headers included
HEADERS = 10_240  # API Gateway's limit for headers
BODY = PAYLOAD - HEADERS

FORGERIES, MINUTES = 10_000, 10


class Attack(NamedTuple):
    status: int
    make: Callable[[], Delivery]


class Cost(NamedTuple):
    status: int
    seconds: float  # of a full vCPU
    megabytes: float  # peak memory of the process


def _signed(body: bytes = b'{"type":"x"}', /, **headers: str) -> Delivery:
    """Return a signed delivery. `headers` replace or add headers: `webhook_id` is `webhook-id`."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    standard = {"content-type": "application/json", "webhook-id": "wh_1", "webhook-timestamp": str(NOW)}
    delivery = Delivery(standard | given, body)
    return replace(delivery, headers={"webhook-signature": right_signature(delivery), **delivery.headers})


def _with_data(element: bytes, before: bytes = b"[", after: bytes = b"]", type_: bytes = b"x") -> Delivery:
    """Return a delivery with as many elements as an event can contain."""
    start, end = b'{"type":"%b","data":%b' % (type_, before), b"%b}" % after
    count = (MIB - 100 - len(start) - len(end)) // (len(element) + 1)
    return _signed(start + b",".join([element] * count) + end)


def _padded(size: int) -> bytes:
    return b'{"type":"x"}'.ljust(size)


def _nested(opening: bytes, closing: bytes) -> Delivery:
    depth = (MIB - 100) // (len(opening) + len(closing))
    return _signed(b'{"type":"x","data":%b1%b}' % (opening * depth, closing * depth))


def _many_keys() -> Delivery:
    return _signed(b'{"type":"x",%b}' % b",".join(b'"%x":0' % number for number in range(100_000)))


def _call(header: bytes) -> Delivery:
    return _with_data(header, b'{"call_id":"rtc_1","sip_headers":[', b"]}", b"realtime.call.incoming")


ATTACKS: Mapping[str, Attack] = {
    "6 MiB, forged": Attack(401, lambda: _signed(b"x" * BODY, webhook_signature="v1,forged")),
    "6 MiB": Attack(413, lambda: _signed(_padded(BODY))),
    "6 MiB in base64, forged": Attack(
        401,
        lambda: _signed(b"x" * (BODY // 4 * 3), webhook_signature="v1,forged", content_type="application/octet-stream"),
    ),
    "1 MiB, forged": Attack(401, lambda: _signed(b"x" * MIB, webhook_signature="v1,forged")),
    "arrays, 500,000 deep": Attack(400, lambda: _nested(b"[", b"]")),
    "objects, 170,000 deep": Attack(400, lambda: _nested(b'{"a":', b"}")),
    "1 MiB of opened arrays": Attack(400, lambda: _signed(b"[" * MIB)),
    "a number of 1 MiB": Attack(400, lambda: _signed(b'{"type":"x","data":%b}' % (b"9" * (MIB - 100)))),
    "240 numbers of 4,300 digits": Attack(200, lambda: _with_data(b"9" * 4300)),
    "350,000 empty arrays": Attack(200, lambda: _with_data(b"[]")),
    "350,000 empty objects": Attack(200, lambda: _with_data(b"{}")),
    "100,000 keys": Attack(200, _many_keys),
    "one key 260,000 times": Attack(200, lambda: _with_data(b'"":0', b"{", b"}")),
    "1 MiB of escapes": Attack(200, lambda: _with_data(b'"%b"' % (rb"\u0000" * 1000))),
    "1 MiB of é": Attack(200, lambda: _with_data(b'"%b"' % ("é" * 1000).encode())),
    "45,000 SIP headers": Attack(200, lambda: _call(b'{"name":"","value":""}')),
    "350,000 wrong SIP headers": Attack(200, lambda: _call(b"{}")),
    "2,000 signatures, 1 MiB": Attack(401, lambda: _signed(b"x" * MIB, webhook_signature="v1,x " * (HEADERS // 5))),
    "1,200,000 signatures": Attack(401, lambda: _signed(webhook_signature="v1,x " * (PAYLOAD // 5))),
    "6 MiB of white space as signature": Attack(401, lambda: _signed(webhook_signature=" " * PAYLOAD)),
    "10,000 other headers": Attack(200, lambda: _signed(**{f"x-{number}": "x" * 100 for number in range(10_000)})),
    "an id of 6 MiB": Attack(200, lambda: _signed(webhook_id="w" * PAYLOAD)),
    "an id of 1,500,000 emoji": Attack(200, lambda: _signed(webhook_id="😀" * (PAYLOAD // 4))),
    "an id of lone surrogates": Attack(200, lambda: _signed(webhook_id="w" * 128 + "\ud800" * 1000)),
    "a timestamp of 6 MiB": Attack(401, lambda: _signed(webhook_timestamp="1" * PAYLOAD)),
    "a timestamp in Arabic digits": Attack(
        401, lambda: _signed(webhook_timestamp="1" + "".join(chr(0x660 + int(digit)) for digit in str(NOW)[1:]))
    ),
}


def cost(name: str) -> Cost:
    """Return what a delivery costs. Call it in a new process."""
    from evidence.fuzz.function import invoke  # noqa: PLC0415  # importing it starts an instance

    invoke(_signed(webhook_id="wh_0").event())
    event = ATTACKS[name].make().event()
    started = time.process_time()
    status, _ = invoke(event)
    seconds = time.process_time() - started
    # getrusage() would include the peak of the parent process.
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])  # KiB
    return Cost(status, round(seconds, 3), round(peak / 1024, 1))


def flood() -> Counter[str]:
    """Return the calls to AWS that forgeries cause, if they arrive evenly over MINUTES. Call it in a new process."""
    from evidence.fuzz.function import aws, clock, invoke  # noqa: PLC0415  # importing it starts an instance

    statuses = Counter[int]()
    for number in range(FORGERIES):
        clock.now = NOW + number * MINUTES * 60 // FORGERIES
        forgery = _signed(webhook_id=f"wh_{number}", webhook_timestamp=str(clock.now), webhook_signature="v1,forged")
        statuses[invoke(forgery.event())[0]] += 1
    assert statuses == {401: FORGERIES}
    return Counter(aws.calls)
