"""Compare `verify` with openai-python and standardwebhooks on a million deliveries.

Exits with 1 and prints the delivery if a difference has no named reason, or if a forgery is accepted.
"""

import argparse
import hashlib
import secrets
import signal
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from random import Random
from typing import Self

from hypothesis import given
from rich.progress import track

from evidence import results
from evidence.attacks.disagreements import Delivery, deliveries, outcomes, stopped_clock

CHUNK = 1000
BYTES = 256  # random bytes that determine a delivery


@dataclass
class Judged:
    count: int = 0
    different: set[bytes] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def add(self, delivery: Delivery) -> None:
        self.count += 1
        self.different.add(hashlib.blake2b(repr(delivery).encode(), digest_size=8).digest())
        try:
            self.seen.update(outcomes(delivery))
        except AssertionError as error:
            self.faults.append(f"{error}: {delivery}")

    def update(self, other: Self) -> None:
        self.count += other.count
        self.different |= other.different
        self.seen += other.seen
        self.faults += other.faults


def judge(seed: int) -> Judged:
    """Draw and judge a chunk of deliveries."""
    judged, random = Judged(), Random(seed)  # noqa: S311  # a run can be repeated
    # Hypothesis's own search remembers everything that it drew, and takes four times as long.
    draw = given(deliveries())(judged.add).hypothesis.fuzz_one_input  # type: ignore[attr-defined]  # not in its types
    with stopped_clock():
        while judged.count < CHUNK:
            draw(random.randbytes(BYTES))
    return judged


def judge_all(count: int, seed: int) -> Judged:
    """Judge deliveries in all processes of this machine."""
    judged = Judged()
    with ProcessPoolExecutor(initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)) as pool:
        chunks = pool.map(judge, range(seed, seed + -(-count // CHUNK)))
        try:
            for chunk in track(chunks, "Judging", count // CHUNK):
                judged.update(chunk)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise
    return judged


def main() -> None:
    parser = argparse.ArgumentParser("python -m evidence.attacks.differential", description=__doc__)
    parser.add_argument("--deliveries", type=int, default=1_000_000, help="number of deliveries (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="seed of the run (default: random)")
    parser.add_argument("--write", action="store_true", help="replace the results")
    arguments = parser.parse_args()
    print(f"Seed {arguments.seed}")
    try:
        judged = judge_all(arguments.deliveries, arguments.seed)
    except KeyboardInterrupt:
        sys.exit(130)
    for name, count in judged.seen.most_common():
        print(f"{count:>10,}  {name}")
    for fault in judged.faults[:10]:
        print(fault, file=sys.stderr)
    if arguments.write:
        found = {
            "seed": arguments.seed,
            "deliveries": judged.count,
            "different": len(judged.different),
            "seen": dict(judged.seen.most_common()),
            "unnamed": len(judged.faults),
        }
        command = " ".join(["python -m evidence.attacks.differential", *sys.argv[1:]])
        results.write("differential", results.origin(command, ("hypothesis", "openai", "standardwebhooks")) | found)
    sys.exit(bool(judged.faults))


if __name__ == "__main__":
    main()
