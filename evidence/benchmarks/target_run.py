"""Measure what the targets are about: cold starts, warm deliveries, verification, memory and size."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from evidence.benchmarks import cold, size, verification, warm
from evidence.benchmarks.cold import Advance
from evidence.benchmarks.targets import TARGETS, Quartiles, ratios
from evidence.benchmarks.testbed import Contender, Endpoints, Testbed

type Steps = Callable[[str, int], Advance]
"""Starts a progress bar with a number of steps."""

COMPARED = ("ours, make build", "openai, sam build", "minimal_boto3, make build")
"""The artifacts that the targets compare."""


class Scale(NamedTuple):
    """How often each thing is measured."""

    starts: int
    batches: int  # a multiple of warm.PROCESSES
    batch: int
    verifications: int


class TargetRun(NamedTuple):
    starts: Mapping[str, Sequence[cold.Start]]
    batches: Mapping[str, Mapping[str, Sequence[warm.Batch]]]
    verifications: verification.Verifications
    memory: Mapping[str, int]
    sizes: Mapping[str, size.Size]

    def ratios(self) -> list[Quartiles]:
        """Return the ratios in the order of TARGETS."""
        ours, openai, minimal = COMPARED
        return [
            self._started(openai),
            self._started(minimal),
            self._handled("ours", "accepted", "minimal_boto3", "accepted"),
            self._handled("ours", "accepted", "openai", "accepted"),
            self._handled("ours", "forged", "ours", "accepted"),
            ratios(*self.verifications),
            Quartiles.of([self.memory["ours"] / self.memory["openai"]]),
            Quartiles.of([self.sizes[ours].zipped / self.sizes[openai].zipped]),
        ]

    def _started(self, other: str) -> Quartiles:
        """Return the ratios of our cold starts to another's."""
        return ratios([start.cpu for start in self.starts[COMPARED[0]]], [start.cpu for start in self.starts[other]])

    def _handled(self, one: str, kind: str, other: str, other_kind: str) -> Quartiles:
        return ratios(
            [batch.cpu for batch in self.batches[one][kind]],
            [batch.cpu for batch in self.batches[other][other_kind]],
        )

    def summary(self) -> dict[str, Any]:
        """Return the results."""
        return {
            "targets": [
                {**target._asdict(), "ratio": ratio._asdict()}
                for target, ratio in zip(TARGETS, self.ratios(), strict=True)
            ],
            "cold": {
                name: {
                    "ratio": self._started(name)._asdict(),
                    **{
                        field: Quartiles.of([getattr(start, field) * 1e3 for start in starts])._asdict()
                        for field in cold.Start._fields
                    },
                }
                for name, starts in self.starts.items()
            },
            "warm": {
                name: {kind: warm.summary(batches) for kind, batches in kinds.items()}
                for name, kinds in self.batches.items()
            },
            "verification_us": {
                name: Quartiles.of([seconds * 1e6 for seconds in of])._asdict()
                for name, of in self.verifications._asdict().items()
            },
            "memory_mb": {name: peak / 1e6 for name, peak in self.memory.items()},
            "size_mb": {
                name: {"unpacked": of.unpacked / 1e6, "zipped": of.zipped / 1e6} for name, of in self.sizes.items()
            },
        }


async def measure(
    starting: Sequence[Contender],
    delivering: Sequence[Contender],
    testbed: Testbed,
    endpoints: Endpoints,
    *,
    scale: Scale,
    steps: Steps,
) -> TargetRun:
    """Measure cold starts of `starting`, and warm processes of `delivering`."""
    starts = await cold.starts(
        starting,
        testbed,
        endpoints,
        rounds=scale.starts,
        advance=steps("cold starts", len(starting) * (scale.starts + 1)),
    )
    batches = await warm.batches(
        delivering,
        testbed,
        endpoints,
        rounds=scale.batches,
        size=scale.batch,
        advance=steps("warm deliveries", len(delivering) * len(warm.STATUSES) * scale.batches),
    )
    return TargetRun(
        starts,
        batches,
        verification.verifications(scale.verifications),
        await warm.memory(delivering, testbed, endpoints),
        {contender.name: size.measure(contender.path)[1] for contender in starting},
    )
