"""The targets of the benchmark, as ratios within one run, and the comparison with a run."""

from collections.abc import Sequence
from statistics import quantiles
from typing import NamedTuple

SLACK = 1.10
"""A run fails if a ratio exceeds its limit by more than this factor, because machines and runs differ."""


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
    at_most: float | None
    """None for a ratio that is only documented, and limited."""
    limit: float | None = None
    """The limit of a run, if it is not the target."""

    @property
    def allowed(self) -> float:
        """The most that a run may have."""
        allowed = self.limit or self.at_most
        assert allowed is not None
        return allowed * SLACK


TARGETS = (
    Target("cold start, CPU, ours / openai, each as users deploy it", 0.22),
    Target("cold start, CPU, ours / minimal_boto3, both with `make build`", 1.13),
    Target("warm accepted, CPU, ours / minimal_boto3", 0.95),
    # No target: botocore's calls are nine tenths of both.
    Target("warm accepted, CPU, ours / openai", None, limit=0.95),
    Target("forged, CPU, ours / ours accepted", 0.10, limit=0.14),
    Target("verification alone, CPU, ours / no_aws", 1.5),
    Target("peak memory, ours / openai", 0.73),
    Target("artifact zipped, ours / openai, each as users deploy it", 0.35),
)


def ratios(ours: Sequence[float], others: Sequence[float]) -> Quartiles:
    """Return the ratios of two contenders, round by round."""
    return Quartiles.of([one / other for one, other in zip(ours, others, strict=True)])


def misses(measured: Sequence[Quartiles]) -> list[str]:
    """Return the targets whose limit a run exceeds."""
    return [
        f"{target.what}: {ratio.median:.3f} exceeds the limit of {target.allowed:.3f}"
        for target, ratio in zip(TARGETS, measured, strict=True)
        if ratio.median > target.allowed
    ]
