"""A million deliveries through verify, openai-python and standardwebhooks: each difference must have a name.

Exits with 1 on a difference without one, or a forgery that was accepted, and shows the delivery.
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

from proof import figures
from proof.disagreements import Delivery, deliveries, outcomes, stopped_clock

CHUNK = 1000
BYTES = 256  # as many as a delivery is drawn from


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
    """A chunk of deliveries, drawn from the seed."""
    judged, random = Judged(), Random(seed)  # noqa: S311  # it can be repeated
    # Drawn without Hypothesis's search, which would take four times as long: it remembers all that it has drawn.
    draw = given(deliveries())(judged.add).hypothesis.fuzz_one_input  # type: ignore[attr-defined]
    with stopped_clock():
        while judged.count < CHUNK:
            draw(random.randbytes(BYTES))
    return judged


def judge_all(count: int, seed: int) -> Judged:
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
    parser = argparse.ArgumentParser("python -m proof.differential", description=__doc__)
    parser.add_argument("--deliveries", type=int, default=1_000_000, help="%(default)s unless given")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**31), help="to repeat a run; random")
    parser.add_argument("--write", action="store_true", help="keep the figures, in proof/results and docs/attacks.md")
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
        results = {
            "seed": arguments.seed,
            "deliveries": judged.count,
            "different": len(judged.different),
            "seen": dict(judged.seen.most_common()),
            "unnamed": len(judged.faults),
        }
        figures.write("differential", "proof.differential", ("hypothesis", "openai", "standardwebhooks"), results)
    sys.exit(bool(judged.faults))


if __name__ == "__main__":
    main()
