"""Deliveries made to cost time or memory, each to a fresh instance of the function, and a flood of forgeries.

Exits with 1 where an answer is another than expected, or would take a function of the default size over 5 s or all of
its memory; or where the flood makes more calls to AWS than it may.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from rich.progress import track

from proof import ROOT, figures
from proof.fuzz.deliveries import NOW, Delivery
from proof.fuzz.oracle import right_signature

BUDGET = 5  # seconds for an answer
MEMORY = 512  # MB: template.yaml's default
SHARE = MEMORY / 1769  # of a processor: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
MIB = 1024 * 1024
PAYLOAD = 6 * MIB  # what Lambda takes at most, headers included
HEADERS = 10_240  # what API Gateway takes of headers

FORGERIES, MINUTES = 10_000, 10
CALLS_A_MINUTE = 3  # one search: AWSCURRENT, AWSPENDING, AWSPREVIOUS


class Attack(NamedTuple):
    status: int
    make: Callable[[], Delivery]


class Cost(NamedTuple):
    status: int
    seconds: float  # of a whole processor
    megabytes: float  # that the process had at its peak

    @property
    def answered_after(self) -> float:
        """Seconds, by a function of the default size."""
        return self.seconds / SHARE


def _signed(body: bytes = b'{"type":"x"}', /, **headers: str) -> Delivery:
    """A delivery, with `webhook_id` and the like in the place of its headers."""
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    standard = {"content-type": "application/json", "webhook-id": "wh_1", "webhook-timestamp": str(NOW)}
    delivery = Delivery(standard | given, body)
    return replace(delivery, headers={"webhook-signature": right_signature(delivery), **delivery.headers})


def _with_data(element: bytes, before: bytes = b"[", after: bytes = b"]", type_: bytes = b"x") -> Delivery:
    """As many of the element as fit into an event."""
    start, end = b'{"type":"%b","data":%b' % (type_, before), b"%b}" % after
    count = (MIB - 100 - len(start) - len(end)) // (len(element) + 1)
    return _signed(start + b",".join([element] * count) + end)


def _nested(opening: bytes, closing: bytes) -> Delivery:
    depth = (MIB - 100) // (len(opening) + len(closing))
    return _signed(b'{"type":"x","data":%b1%b}' % (opening * depth, closing * depth))


def _many_keys() -> Delivery:
    return _signed(b'{"type":"x",%b}' % b",".join(b'"%x":0' % number for number in range(100_000)))


def _call(header: bytes) -> Delivery:
    return _with_data(header, b'{"call_id":"rtc_1","sip_headers":[', b"]}", b"realtime.call.incoming")


ATTACKS: Mapping[str, Attack] = {
    "10 MB, forged": Attack(413, lambda: _signed(b"x" * 10_000_000, webhook_signature="v1,forged")),
    "10 MB, in base64": Attack(413, lambda: _signed(b"x" * 10_000_000, content_type="application/octet-stream")),
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
    "6 MiB of white space for a signature": Attack(401, lambda: _signed(webhook_signature=" " * PAYLOAD)),
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
    """What the delivery costs. To be called in a process that has done nothing else."""
    from proof.fuzz.function import invoke  # noqa: PLC0415  # starts an instance

    invoke(_signed(webhook_id="wh_0").event())
    event = ATTACKS[name].make().event()
    started = time.process_time()
    status, _ = invoke(event)
    seconds = time.process_time() - started
    return Cost(status, round(seconds, 3), round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1))


def flood() -> Counter[str]:
    """The calls to AWS that forgeries cause, which come evenly over the minutes."""
    from proof.fuzz.function import aws, clock, invoke  # noqa: PLC0415

    statuses = Counter[int]()
    for number in range(FORGERIES):
        clock.now = NOW + number * MINUTES * 60 // FORGERIES
        forgery = _signed(webhook_id=f"wh_{number}", webhook_timestamp=str(clock.now), webhook_signature="v1,forged")
        statuses[invoke(forgery.event())[0]] += 1
    assert statuses == {401: FORGERIES}
    return Counter(aws.calls)


def faults(costs: Mapping[str, Cost], calls: Mapping[str, int]) -> list[str]:
    """What is not as it must be."""
    found = []
    for name, spent in costs.items():
        if spent.status != ATTACKS[name].status:
            found.append(f"{name}: answered {spent.status} in the place of {ATTACKS[name].status}")
        if spent.answered_after > BUDGET:
            found.append(f"{name}: answered after {spent.answered_after:.1f} s")
        if spent.megabytes > MEMORY:
            found.append(f"{name}: {spent.megabytes} MB")
    if calls.keys() - {"GetSecretValue"} or sum(calls.values()) > MINUTES * CALLS_A_MINUTE:
        found.append(f"flood: {dict(calls)}")
    return found


def _in_a_process(call: str) -> Any:
    code = f"import json; from proof import attacks; print(json.dumps(attacks.{call}))"
    # In a group of its own: a Ctrl-C is for us, who then end it.
    command = [sys.executable, "-c", code]
    return json.loads(subprocess.check_output(command, cwd=ROOT, process_group=0))  # noqa: S603  # our own code


def main() -> None:
    parser = argparse.ArgumentParser("python -m proof.attacks", description=__doc__)
    parser.add_argument("--write", action="store_true", help="keep the figures, in proof/results and docs/attacks.md")
    arguments = parser.parse_args()
    try:
        costs = {name: Cost(*_in_a_process(f"cost({name!r})")) for name in track(ATTACKS, "Attacking")}
        calls: dict[str, int] = _in_a_process("flood()")
    except KeyboardInterrupt:
        sys.exit(130)
    for name, spent in costs.items():
        print(f"{name:40} {spent.status} {spent.seconds:7.3f} s {spent.megabytes:7.1f} MB")
    print(f"{FORGERIES:,} forgeries in {MINUTES} minutes: {calls}")
    if arguments.write:
        results = {
            "attacks": {
                name: {**spent._asdict(), "answered_after": round(spent.answered_after, 2)}
                for name, spent in costs.items()
            },
            "flood": {"forgeries": FORGERIES, "minutes": MINUTES, "calls": calls},
        }
        figures.write("attacks", "proof.attacks", ("boto3", "pydantic", "pydantic-core"), results)
    if found := faults(costs, calls):
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
