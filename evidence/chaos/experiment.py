"""Deliveries like OpenAI's, to receivers that are killed, with AWS services that fail. Is a promise broken?"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from evidence.chaos import checks, faults
from evidence.chaos.deliveries import NEW_SECRET, OLD_SECRET, Delivery, deliveries, forgeries
from evidence.chaos.journal import LATE, Invocation, Journal
from evidence.chaos.receivers import Clock, running
from evidence.chaos.seeded_random import Draw, seeded_random
from evidence.chaos.sender import HOUR, Sender
from evidence.chaos.services import Call, Services
from tests.support.lambda_runtime import Function

BEGIN = 1_750_861_200.0  # Unix seconds
PERIOD = 24  # hours during which new deliveries are sent
# The rotation of the secret, in hours since the first delivery.
BEGUN = 20.0  # OpenAI starts to use both secrets, and a flood of forgeries starts.
STORED = BEGUN + 10 / HOUR  # The operator stores the new secret as pending, next to a malformed value.
CURRENT = 21.5  # The operator makes the new secret current.
ENDED = 44.0  # OpenAI stops using the old secret.
ROTATION_BURSTS = 5, 15, 25  # seconds after BEGUN: before, soon after and long after the new secret is stored
FLOOD = 30  # seconds
MALFORMED = "whsec_malformed"
REPORTED = 5  # violations that are reported in full


class Plan(NamedTuple):
    seed: int
    deliveries: int
    bursts: int
    """The number of moments at which deliveries are sent. The rotation has more."""
    processes: int


@dataclass
class Experiment:
    """Decides what goes wrong, and checks what happens. `report` is called with a text for each violation."""

    journal: Journal
    draw: Draw
    report: Callable[[str], None]
    counts: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    """Events that reached the bus again, by allowed cause."""
    longest: float = 0
    """The longest time to an answer, in seconds."""

    def fault(self, invocation: Invocation, operation: str) -> str:
        """Return the fault of the next call, or ""."""
        name = invocation.delivery.webhook_id, invocation.delivery.intruder, invocation.attempt
        number = self.draw("fault", *name, operation, sum(1 for _ in invocation.made(operation)))
        chosen = faults.fault(operation, hours=_hours(invocation.began), number=number)
        self.counts["calls"] += 1
        if chosen:
            self.counts[f"fault: {chosen}"] += 1
        return chosen

    def published(self, invocation: Invocation, entry: Mapping[str, Any]) -> None:
        """Check an entry that reached the bus."""
        self.counts["events on the bus"] += 1
        if violation := checks.published(invocation, entry):
            self._violate(violation, invocation)
            return
        *earlier, _ = self.journal.publications[invocation.delivery.webhook_id]
        causes = [checks.cause(other, invocation) for other in earlier]
        if not all(causes):
            self._violate("duplicate", invocation)
        elif causes:
            self.explained[causes[-1]] += 1

    def ended(self, invocation: Invocation) -> None:
        """Check an invocation that ended."""
        assert invocation.ended is not None
        self.counts["invocations"] += 1
        self.counts[f"fault: {LATE}"] += sum(call.fault == LATE for call in invocation.calls)
        self.counts[invocation.outcome] += 1
        if invocation.status is not None:
            self.longest = max(self.longest, invocation.ended - invocation.began)
        for violation in checks.answered(self.journal, invocation):
            self._violate(violation, invocation)

    def finish(self, sent: Iterable[Delivery]) -> None:
        """Check that every event reached the bus."""
        for delivery in checks.lost(self.journal, sent):
            self.violations["lost"] += 1
            self.report(f"lost: {delivery.webhook_id}")

    def _violate(self, violation: str, invocation: Invocation) -> None:
        self.violations[violation] += 1
        if self.violations.total() <= REPORTED:
            others = self.journal.invocations[invocation.delivery.webhook_id]
            self.report("\n  ".join([f"{violation}: {invocation}", *map(str, others)]))


async def run(
    plan: Plan,
    *,
    artifact: Path,
    function: Function,
    settled: Callable[[], None],
    report: Callable[[str], None],
    until_violation: bool = False,
) -> Experiment:
    """Run an experiment.

    `settled` is called for each delivery that was accepted or given up, `report` with each violation, immediately.
    """
    draw, clock = seeded_random(plan.seed), Clock(BEGIN)
    experiment = Experiment(Journal(), draw, report)
    sent = list(_deliveries(plan, draw))
    async with (
        running(
            plan.processes,
            artifact=artifact,
            function=function,
            secret=OLD_SECRET,
            clock=clock,
            journal=experiment.journal,
            director=experiment,
        ) as (receivers, aws),
        asyncio.TaskGroup() as group,
    ):
        sender = Sender(group, receivers, clock, draw, secrets=partial(_secrets, draw), settled=settled)
        for delivery in sent:
            sender.deliver(delivery)
        _rotate(sender, aws, clock, experiment.journal)
        await sender.run(until=lambda: until_violation and bool(experiment.violations))
    if not until_violation or not experiment.violations:
        experiment.finish(sent)
    experiment.counts["processes started"] = receivers.started
    experiment.counts["given up"] = sender.given_up
    return experiment


def _deliveries(plan: Plan, draw: Draw) -> Iterator[Delivery]:
    begun = BEGIN + BEGUN * HOUR
    bursts = [BEGIN + PERIOD * HOUR * number / plan.bursts for number in range(plan.bursts)]
    bursts += [begun + seconds for seconds in ROTATION_BURSTS]
    yield from deliveries(plan.deliveries, draw, bursts=sorted(bursts))
    yield from forgeries(plan.processes, draw, begin=begun, seconds=FLOOD)


def _hours(at: float) -> float:
    return (at - BEGIN) / HOUR


def _secrets(draw: Draw, now: float, attempt: str) -> list[str]:
    """Return the secrets that OpenAI signs an attempt with. During the rotation it uses either secret, or both."""
    if _hours(now) < BEGUN:
        return [OLD_SECRET]
    if _hours(now) >= ENDED:
        return [NEW_SECRET]
    return [[OLD_SECRET], [NEW_SECRET], [NEW_SECRET, OLD_SECRET]][int(draw("secret", attempt) * 3)]


def _rotate(sender: Sender, aws: Services, clock: Clock, journal: Journal) -> None:
    """Schedule the operator's steps of the rotation."""
    secret = {"SecretId": aws.secret.id}
    versions = []

    def call(operation: str, **parameters: object) -> Mapping[str, Any]:
        answer = aws.serve(Call(operation, "operator", {**secret, **parameters}))
        assert answer.status == 200, answer
        return answer.body

    async def store() -> None:
        versions.append(call("GetSecretValue")["VersionId"])
        stored = call("PutSecretValue", SecretString=f"{MALFORMED} {NEW_SECRET}", VersionStages=["AWSPENDING"])
        versions.append(stored["VersionId"])
        journal.stored[NEW_SECRET] = clock.now()

    async def promote() -> None:
        old, new = versions
        call("UpdateSecretVersionStage", VersionStage="AWSCURRENT", MoveToVersionId=new, RemoveFromVersionId=old)

    sender.at(BEGIN + STORED * HOUR, store)
    sender.at(BEGIN + CURRENT * HOUR, promote)
