"""Whether the time that `verify` takes tells where a signature is wrong: Welch's t-test, as dudect does it.

https://eprint.iacr.org/2016/1123. Signatures that are wrong in one place are measured against such that are wrong at
their end, in random order. A comparison that stops at the first wrong byte is measured too: it must be found out.
Exits with 1 if verify's time tells, or the control's doesn't.
"""

import argparse
import gc
import hmac
import math
import secrets
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import NamedTuple
from unittest import mock

from rich.progress import track

from openai_webhooks import Unverified, sign, verify
from proof import figures

KEY = bytes(range(32))
NOW = 1_750_861_210
BODY = b'{"id":"evt_1","object":"event","created_at":1750861210,"type":"batch.completed","data":{"id":"batch_1"}}'
START, END = len("v1,"), len("v1,") + 42  # of the base64 that tells the 32 bytes
PLACES = (0, 1, 10, 21, 32)
BATCH = 200
THRESHOLD = 4.5  # dudect's, for |t|
KEPT = 0.9  # of the measurements: the slowest are other programs' doing

type Headers = dict[str, str]


class Difference(NamedTuple):
    """Of the mean time of those wrong in one place from that of those wrong at the end, in nanoseconds."""

    mean: float
    t: float

    @property
    def tells(self) -> bool:
        return abs(self.t) > THRESHOLD


def stops_early(a: bytes, b: bytes) -> bool:
    """What hmac.compare_digest is there to replace."""
    return len(a) == len(b) and all(x == y for x, y in zip(a, b, strict=True))


def measure(place: int, count: int, random: Random) -> Difference:
    """Time `count` deliveries of each class."""
    times: tuple[list[int], list[int]] = ([], [])
    gc.disable()
    for _ in range(count // BATCH):
        # Each is timed once only, and made in random order: where it lies in memory takes its time too.
        deliveries = [(which, number) for which in range(2) for number in range(BATCH)]
        random.shuffle(deliveries)
        batch = [(which, _wrong_at((START + place, END)[which], number)) for which, number in deliveries]
        random.shuffle(batch)
        for which, headers in batch:
            times[which].append(_time(headers))
    gc.enable()
    return welch(_kept(times[0]), _kept(times[1]))


def _wrong_at(position: int, number: int) -> Headers:
    webhook_id = f"wh_{number}"
    right = sign(BODY, webhook_id=webhook_id, timestamp=NOW, key=KEY)
    wrong = right[:position] + ("A" if right[position] != "A" else "B") + right[position + 1 :]
    return {"webhook-id": webhook_id, "webhook-timestamp": str(NOW), "webhook-signature": wrong}


def _time(headers: Headers) -> int:
    started = time.perf_counter_ns()
    with suppress(Unverified):
        verify(BODY, headers, keys=[KEY], now=NOW)
    return time.perf_counter_ns() - started


def _kept(times: list[int]) -> list[int]:
    return sorted(times)[: int(len(times) * KEPT)]


def welch(a: Sequence[float], b: Sequence[float]) -> Difference:
    means = [math.fsum(values) / len(values) for values in (a, b)]
    errors = [
        math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values)
        for values, mean in zip((a, b), means, strict=True)
    ]
    mean = means[0] - means[1]
    return Difference(mean, mean / math.sqrt(sum(errors)))


def main() -> None:
    parser = argparse.ArgumentParser("python -m proof.timing", description=__doc__)
    parser.add_argument("--count", type=int, default=200_000, help="measurements of each class; %(default)s")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="for the order; random")
    parser.add_argument("--write", action="store_true", help="keep the figures, in proof/results and docs/attacks.md")
    arguments = parser.parse_args()
    random = Random(arguments.seed)  # noqa: S311  # it can be repeated
    try:
        verified = {place: measure(place, arguments.count, random) for place in track(PLACES, "Measuring")}
        with mock.patch.object(hmac, "compare_digest", stops_early):
            control = measure(0, arguments.count // 10, random)
    except KeyboardInterrupt:
        sys.exit(130)
    for place, difference in verified.items():
        print(f"wrong at {place:2}: {difference.mean:+8.1f} ns, t = {difference.t:+.1f}")
    print(f"control:     {control.mean:+8.1f} ns, t = {control.t:+.1f}")
    if arguments.write:
        results = {
            "seed": arguments.seed,
            "count": arguments.count,
            "verify": {place: _rounded(difference) for place, difference in verified.items()},
            "control": _rounded(control),
        }
        figures.write("timing", "proof.timing", (), results)
    sys.exit(any(difference.tells for difference in verified.values()) or not control.tells)


def _rounded(difference: Difference) -> dict[str, float]:
    return {"nanoseconds": round(difference.mean, 1), "t": round(difference.t, 1)}


if __name__ == "__main__":
    main()
