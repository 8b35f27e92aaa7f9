"""What the targets are about: cold starts, warm deliveries, verifying, memory and size of every contender."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks import cold, size, verification, warm
from benchmarks.cold import Advance
from benchmarks.rig import Contender, Endpoints, Rig
from benchmarks.targets import TARGETS, Quartiles, ratios

type Steps = Callable[[str, int], Advance]
"""Begins a part of a progress display, of so many steps."""


JUDGED = ("ours, make build", "openai, sam build", "floor, make build")
"""The artefacts that the targets are about."""


class Scale(NamedTuple):
    """How often each thing is measured."""

    starts: int
    batches: int  # a multiple of warm.PROCESSES
    batch: int
    verifications: int


class Judged(NamedTuple):
    starts: Mapping[str, Sequence[cold.Start]]
    batches: Mapping[str, Mapping[str, Sequence[warm.Batch]]]
    verifications: verification.Verifications
    memory: Mapping[str, int]
    sizes: Mapping[str, size.Size]

    def ratios(self) -> list[Quartiles]:
        """In the order of TARGETS."""
        ours, openai, floor = JUDGED
        return [
            self._started(openai),
            self._started(floor),
            self._handled("ours", "accepted", "floor", "accepted"),
            self._handled("ours", "accepted", "openai", "accepted"),
            self._handled("ours", "forged", "ours", "accepted"),
            ratios(*self.verifications),
            Quartiles.of([self.memory["ours"] / self.memory["openai"]]),
            Quartiles.of([self.sizes[ours].zipped / self.sizes[openai].zipped]),
        ]

    def _started(self, other: str) -> Quartiles:
        """Ours in relation to another."""
        return ratios([start.cpu for start in self.starts[JUDGED[0]]], [start.cpu for start in self.starts[other]])

    def _handled(self, one: str, kind: str, other: str, other_kind: str) -> Quartiles:
        return ratios(
            [batch.cpu for batch in self.batches[one][kind]],
            [batch.cpu for batch in self.batches[other][other_kind]],
        )

    def figures(self) -> dict[str, Any]:
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
                name: {kind: warm.figures(batches) for kind, batches in kinds.items()}
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


async def judged(
    starting: Sequence[Contender],
    delivering: Sequence[Contender],
    rig: Rig,
    endpoints: Endpoints,
    *,
    scale: Scale,
    steps: Steps,
) -> Judged:
    """Measure it. `starting` are started again and again, `delivering` stay up."""
    starts = await cold.starts(
        starting,
        rig,
        endpoints,
        rounds=scale.starts,
        advance=steps("cold starts", len(starting) * (scale.starts + 1)),
    )
    batches = await warm.batches(
        delivering,
        rig,
        endpoints,
        rounds=scale.batches,
        size=scale.batch,
        advance=steps("warm deliveries", len(delivering) * len(warm.STATUSES) * scale.batches),
    )
    return Judged(
        starts,
        batches,
        verification.verifications(scale.verifications),
        await warm.memory(delivering, rig, endpoints),
        {contender.name: size.measure(contender.path)[1] for contender in starting},
    )
