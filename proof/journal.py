"""What has happened: each invocation, with the calls that it made and what became of them."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from proof.deliveries import Delivery
from proof.faults import TABLE

LATE = "answered late"


class Made(NamedTuple):
    """A call that an invocation has made."""

    operation: str
    at: float
    fault: str
    took_effect: bool


@dataclass(slots=True)
class Invocation:
    """All times in simulated Unix seconds."""

    delivery: Delivery
    attempt: str
    """Which of the delivery's attempts it is."""
    caller: str
    """The process."""
    began: float
    calls: list[Made] = field(default_factory=list)
    ended: float | None = None
    status: int | None = None
    """None while it runs, and where it died or raised."""
    outcome: str = ""
    """The answer's word, or `killed`, `timed out` or `raised`."""

    def made(self, *operations: str) -> Iterator[Made]:
        return (call for call in self.calls if call.operation in operations)

    def faulty(self, *operations: str) -> bool:
        return any(call.fault for call in self.made(*operations))

    def effect(self, *operations: str) -> Made | None:
        """The first of these calls that took effect."""
        return next((call for call in self.made(*operations) if call.took_effect), None)

    @property
    def table_failed(self) -> bool:
        return self.faulty(*TABLE)

    @property
    def died(self) -> bool:
        return self.outcome in {"killed", "timed out"}


class Journal:
    """Every invocation and every publication, by the delivery's id; and when each process last read the secret."""

    def __init__(self) -> None:
        self.invocations: dict[str, list[Invocation]] = defaultdict(list)
        self.publications: dict[str, list[Invocation]] = defaultdict(list)
        """Whose events came onto the bus, in that order."""
        self.last_read: dict[str, Made] = {}
        self.secret_changed = 0.0
        """When a version of the secret last got another stage."""

    def begin(self, invocation: Invocation) -> None:
        self.invocations[invocation.delivery.webhook_id].append(invocation)

    def add(self, invocation: Invocation, call: Made, *, retry: bool) -> None:
        """Take down a call. One that is repeated though it went well was answered too late by this busy machine."""
        if retry and invocation.calls and not invocation.calls[-1].fault:
            invocation.calls[-1] = invocation.calls[-1]._replace(fault=LATE)
        invocation.calls.append(call)
        if call.operation == "GetSecretValue":
            self.last_read[invocation.caller] = call
        elif call.operation == "PutEvents" and call.took_effect:
            self.publications[invocation.delivery.webhook_id].append(invocation)
