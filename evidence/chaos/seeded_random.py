"""Random numbers that depend on a seed and on what they are for, not on the order of the calls."""

from collections.abc import Callable, Mapping
from hashlib import blake2b

type Draw = Callable[..., float]
"""Returns a number from 0 up to 1: the same number for the same arguments."""


def seeded_random(seed: int) -> Draw:
    """Return the function that draws the numbers of a run."""

    def draw(*subject: object) -> float:
        digest = blake2b(repr((seed, *subject)).encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64

    return draw


def pick(shares: Mapping[str, float], number: float) -> str:
    """Return the name whose share contains `number`, or "" if no share does. The shares start at 0 and add up."""
    for name, share in shares.items():
        number -= share
        if number < 0:
            return name
    return ""
