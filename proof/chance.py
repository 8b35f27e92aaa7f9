"""Chance that can be had again: it depends on the seed and on what it is for, not on the order of the asking."""

from collections.abc import Callable, Mapping
from hashlib import blake2b

type Chance = Callable[..., float]
"""A number from 0 up to 1, always the same one for the same arguments."""


def seeded(seed: int) -> Chance:
    def chance(*subject: object) -> float:
        digest = blake2b(repr((seed, *subject)).encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64

    return chance


def pick(shares: Mapping[str, float], number: float) -> str:
    """The name in whose share of 0 up to 1 the number falls; "" where it falls in none."""
    for name, share in shares.items():
        number -= share
        if number < 0:
            return name
    return ""
