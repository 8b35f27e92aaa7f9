"""Measure whether the time of `verify` reveals where a signature is wrong, with a t-test, as dudect does.

In batches with random order, the test compares signatures that are wrong at one place with signatures that are wrong at
the end. An early-exit comparison is the control. Exits with 1 if the time of `verify` reveals the place, or if the test
does not detect the control. Source: https://eprint.iacr.org/2016/1123
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
from statistics import fmean, stdev
from typing import NamedTuple
from unittest import mock

from rich.progress import track

from evidence import results
from openai_webhooks import Unverified, sign, verify

KEY = bytes(range(32))
NOW = 1_750_861_210
BODY = b'{"id":"evt_1","object":"event","created_at":1750861210,"type":"batch.completed","data":{"id":"batch_1"}}'
START, END = len("v1,"), len("v1,") + 42  # positions in the base64 text of the 32 bytes
PLACES = (0, 1, 10, 21, 32)
BATCH = 200
THRESHOLD = 4.5  # dudect's limit of |t|
KEPT = 0.9  # share of measurements: other programs cause the slowest

type Headers = dict[str, str]


class Difference(NamedTuple):
    """The mean time of signatures that are wrong at one place, minus the mean of the others, in nanoseconds."""

    mean: float
    t: float

    @property
    def reveals(self) -> bool:
        """Whether the difference is significant."""
        return abs(self.t) > THRESHOLD


def exits_early(a: bytes, b: bytes) -> bool:
    """Compare like code that does not use hmac.compare_digest."""
    return len(a) == len(b) and all(x == y for x, y in zip(a, b, strict=True))


def measure(place: int, count: int, random: Random) -> Difference:
    """Time `count` deliveries of each kind."""
    differences = []
    gc.disable()
    for _ in range(count // BATCH):
        times: tuple[list[int], list[int]] = ([], [])
        # Each delivery is timed once and created in random order, because its place in memory affects the time.
        deliveries = [(which, number) for which in range(2) for number in range(BATCH)]
        random.shuffle(deliveries)
        batch = [(which, _wrong_at((START + place, END)[which], number)) for which, number in deliveries]
        random.shuffle(batch)
        for which, headers in batch:
            times[which].append(_time(headers))
        differences.append(fmean(_kept(times[0])) - fmean(_kept(times[1])))
    gc.enable()
    return t_test(differences)


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


def t_test(differences: Sequence[float]) -> Difference:
    """Return the mean of the batches' differences, and its t.

    The slowest times of both kinds are dropped within each batch. If they were dropped from all times together, the
    machine's slow and fast phases would make equal signatures differ significantly.
    """
    mean = fmean(differences)
    return Difference(mean, mean / (stdev(differences) / math.sqrt(len(differences))))


def main() -> None:
    parser = argparse.ArgumentParser("python -m evidence.attacks.timing", description=__doc__)
    parser.add_argument("--count", type=int, default=200_000, help="measurements of each kind (default: %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=secrets.randbelow(2**31), help="seed of the order (default: random)"
    )
    parser.add_argument("--write", action="store_true", help="replace the results")
    arguments = parser.parse_args()
    random = Random(arguments.seed)  # noqa: S311  # a run can be repeated
    try:
        verified = {place: measure(place, arguments.count, random) for place in track(PLACES, "Measuring")}
        with mock.patch.object(hmac, "compare_digest", exits_early):
            control = measure(0, arguments.count // 10, random)
    except KeyboardInterrupt:
        sys.exit(130)
    for place, difference in verified.items():
        print(f"wrong at {place:2}: {difference.mean:+8.1f} ns, t = {difference.t:+.1f}")
    print(f"control:     {control.mean:+8.1f} ns, t = {control.t:+.1f}")
    if arguments.write:
        found = {
            "seed": arguments.seed,
            "count": arguments.count,
            "verify": {place: _rounded(difference) for place, difference in verified.items()},
            "control": _rounded(control),
        }
        origin = results.origin(" ".join(["python -m evidence.attacks.timing", *sys.argv[1:]]), ())
        results.write("timing", origin | found)
    sys.exit(any(difference.reveals for difference in verified.values()) or not control.reveals)


def _rounded(difference: Difference) -> dict[str, float]:
    return {"nanoseconds": round(difference.mean, 1), "t": round(difference.t, 1)}


if __name__ == "__main__":
    main()
