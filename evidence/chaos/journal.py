"""What happened in a run: each invocation, its calls to AWS and their effects."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from evidence.chaos.deliveries import OLD_SECRET, Delivery
from evidence.chaos.faults import TABLE

LATE = "answered late"


class Made(NamedTuple):
    """A call that an invocation made."""

    operation: str
    at: float
    fault: str
    took_effect: bool


@dataclass(slots=True)
class Invocation:
    """One invocation of the function. All times are in simulated Unix seconds."""

    delivery: Delivery
    attempt: str
    """Which attempt of the delivery it is."""
    caller: str
    """The process."""
    began: float
    secrets: Sequence[str] = (OLD_SECRET,)
    """What the delivery is signed with, unless it is an intruder."""
    calls: list[Made] = field(default_factory=list)
    ended: float | None = None
    status: int | None = None
    """The HTTP status. None while the invocation runs, and if the process was killed or the function raised."""
    outcome: str = ""
    """The outcome in the answer, or `killed`, `timed out` or `raised`."""

    def made(self, *operations: str) -> Iterator[Made]:
        """Return the calls of these operations."""
        return (call for call in self.calls if call.operation in operations)

    def faulty(self, *operations: str) -> bool:
        """Return whether one of these calls had a fault."""
        return any(call.fault for call in self.made(*operations))

    def effect(self, *operations: str) -> Made | None:
        """Return the first of these calls that took effect."""
        return next((call for call in self.made(*operations) if call.took_effect), None)

    @property
    def table_failed(self) -> bool:
        return self.faulty(*TABLE)

    @property
    def killed(self) -> bool:
        return self.outcome in {"killed", "timed out"}


class Journal:
    """Every invocation and every publication by webhook id, and how each process read the secret."""

    def __init__(self) -> None:
        self.invocations: dict[str, list[Invocation]] = defaultdict(list)
        self.publications: dict[str, list[Invocation]] = defaultdict(list)
        """The invocations that published, in order."""
        self.readers: dict[str, list[Invocation]] = defaultdict(list)
        """The invocations of each process that read the signing secret, in order."""
        self.stored = {OLD_SECRET: 0.0}
        """When each of OpenAI's secrets was stored."""

    def begin(self, invocation: Invocation) -> None:
        """Record the start of an invocation."""
        self.invocations[invocation.delivery.webhook_id].append(invocation)

    def add(self, invocation: Invocation, call: Made, *, retry: bool) -> None:
        """Record a call. A retry of a call without a fault means that this machine was too busy to answer in time."""
        if retry and invocation.calls and not invocation.calls[-1].fault:
            invocation.calls[-1] = invocation.calls[-1]._replace(fault=LATE)
        invocation.calls.append(call)
        if call.operation == "GetSecretValue":
            readers = self.readers[invocation.caller]
            if not readers or readers[-1] is not invocation:
                readers.append(invocation)
        elif call.operation == "PutEvents" and call.took_effect:
            self.publications[invocation.delivery.webhook_id].append(invocation)
