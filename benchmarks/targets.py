"""What is aimed at, as ratios within one run, and how far a run is from it."""

from collections.abc import Sequence
from statistics import quantiles
from typing import NamedTuple

SLACK = 1.10
"""A ratio may be this much worse before the benchmark fails: machines differ, and so do runs."""


class Quartiles(NamedTuple):
    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Quartiles":
        low, median, high = quantiles(values, method="inclusive") if len(values) > 1 else [values[0]] * 3
        return cls(low, median, high)

    def text(self, form: str) -> str:
        return f"{self.median:{form}} ({self.low:{form}} to {self.high:{form}})"


class Target(NamedTuple):
    what: str
    at_most: float
    held: float | None = None
    """What a run is held to instead, where the target has not been met."""


TARGETS = (
    Target("cold start, CPU, ours / openai, each as it is deployed", 0.40),
    Target("cold start, CPU, ours / floor, both by `make build`", 1.25),
    Target("warm accepted, CPU, ours / floor", 1.15),
    Target("warm accepted, CPU, ours / openai", 0.75, held=0.95),
    Target("forged, CPU, ours / ours accepted", 0.05, held=0.14),
    Target("verification alone, CPU, ours / bare", 1.5),
    Target("peak memory, ours / openai", 0.75),
    Target("artefact zipped, ours / openai, each as it is deployed", 0.35),
)


def ratios(ours: Sequence[float], others: Sequence[float]) -> Quartiles:
    """Of two contenders' figures, round by round."""
    return Quartiles.of([one / other for one, other in zip(ours, others, strict=True)])


def misses(measured: Sequence[Quartiles]) -> list[str]:
    """The targets that a run is further from than it may be."""
    return [
        f"{target.what}: {ratio.median:.3f}, and at most {held * SLACK:.3f} is allowed"
        for target, ratio in zip(TARGETS, measured, strict=True)
        if ratio.median > (held := target.held or target.at_most) * SLACK
    ]
