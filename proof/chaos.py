"""Deliveries as OpenAI makes them, to receivers that die, before an AWS that fails: is a promise broken?"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from proof import checks, faults
from proof.chance import Chance, seeded
from proof.deliveries import NEW_SECRET, OLD_SECRET, Delivery, deliveries
from proof.journal import LATE, Invocation, Journal
from proof.receivers import Clock, running
from proof.sender import HOUR, Sender
from proof.services import Call, Services
from webhooks.instances import Function

BEGIN = 1_750_861_200.0  # Unix seconds
PERIOD = 24  # hours over which new deliveries come
# The rotation, in hours: the new secret is stored as pending, OpenAI begins to use it beside the old one, it becomes
# current, OpenAI ceases to use the old one.
PENDING, BEGUN, CURRENT, ENDED = 19.0, 20.0, 21.5, 44.0
TOLD = 5  # violations that are told of in full


class Plan(NamedTuple):
    seed: int
    deliveries: int
    bursts: int
    """At how many moments they come."""
    processes: int


@dataclass
class Experiment:
    """Directs what goes wrong, and takes down whether what happens is as promised. `tell` is told of violations."""

    journal: Journal
    chance: Chance
    tell: Callable[[str], None]
    counts: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)
    explained: Counter[str] = field(default_factory=Counter)
    """Events that came onto the bus again, by why."""
    longest: float = 0
    """The longest time to an answer, in seconds."""

    def fault(self, invocation: Invocation, operation: str) -> str:
        name = invocation.delivery.webhook_id, invocation.delivery.intruder, invocation.attempt
        number = self.chance("fault", *name, operation, sum(1 for _ in invocation.made(operation)))
        chosen = faults.fault(operation, hours=_hours(invocation.began), number=number)
        self.counts["calls"] += 1
        if chosen:
            self.counts[f"fault: {chosen}"] += 1
        return chosen

    def published(self, invocation: Invocation, entry: Mapping[str, Any]) -> None:
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
        assert invocation.ended is not None
        self.counts["invocations"] += 1
        self.counts[f"fault: {LATE}"] += sum(call.fault == LATE for call in invocation.calls)
        self.counts[invocation.outcome] += 1
        if invocation.status is not None:
            self.longest = max(self.longest, invocation.ended - invocation.began)
        for violation in checks.answered(self.journal, invocation):
            self._violate(violation, invocation)

    def finish(self, sent: Iterable[Delivery]) -> None:
        """See what has not arrived, after all."""
        for delivery in checks.lost(self.journal, sent):
            self.violations["lost"] += 1
            self.tell(f"lost: {delivery.webhook_id}")

    def _violate(self, violation: str, invocation: Invocation) -> None:
        self.violations[violation] += 1
        if self.violations.total() <= TOLD:
            others = self.journal.invocations[invocation.delivery.webhook_id]
            self.tell("\n  ".join([f"{violation}: {invocation}", *map(str, others)]))


async def run(
    plan: Plan,
    *,
    artefact: Path,
    function: Function,
    settled: Callable[[], None],
    tell: Callable[[str], None],
    until_violation: bool = False,
) -> Experiment:
    """Carry out an experiment.

    `settled` is called for each delivery that was accepted or given up, `tell` with what broke a promise, at once.
    """
    chance, clock = seeded(plan.seed), Clock(BEGIN)
    experiment = Experiment(Journal(), chance, tell)
    sent = list(_deliveries(plan, chance))
    async with (
        running(
            plan.processes,
            artefact=artefact,
            function=function,
            secret=OLD_SECRET,
            clock=clock,
            journal=experiment.journal,
            director=experiment,
        ) as (receivers, aws),
        asyncio.TaskGroup() as group,
    ):
        sender = Sender(group, receivers, clock, chance, secrets=partial(_secrets, chance), settled=settled)
        for delivery in sent:
            sender.deliver(delivery)
        _rotate(sender, aws, experiment.journal)
        await sender.run(until=lambda: until_violation and bool(experiment.violations))
    if not until_violation or not experiment.violations:
        experiment.finish(sent)
    experiment.counts["processes started"] = receivers.started
    experiment.counts["given up"] = sender.given_up
    return experiment


def _deliveries(plan: Plan, chance: Chance) -> Iterator[Delivery]:
    return deliveries(
        plan.deliveries, chance, bursts=[BEGIN + PERIOD * HOUR * i / plan.bursts for i in range(plan.bursts)]
    )


def _hours(at: float) -> float:
    return (at - BEGIN) / HOUR


def _secrets(chance: Chance, now: float, attempt: str) -> list[str]:
    """What OpenAI signs an attempt with. While two secrets are in use it may be either, or both."""
    if _hours(now) < BEGUN:
        return [OLD_SECRET]
    if _hours(now) >= ENDED:
        return [NEW_SECRET]
    return [[OLD_SECRET], [NEW_SECRET], [NEW_SECRET, OLD_SECRET]][int(chance("secret", attempt) * 3)]


def _rotate(sender: Sender, aws: Services, journal: Journal) -> None:
    """Have the operator store the new secret and, later, make it the current one."""
    secret = {"SecretId": aws.secret.id}
    versions = []

    def call(operation: str, **parameters: object) -> Mapping[str, Any]:
        answer = aws.serve(Call(operation, "operator", {**secret, **parameters}))
        assert answer.status == 200, answer
        return answer.body

    async def store() -> None:
        versions.append(call("GetSecretValue")["VersionId"])
        stored = call("PutSecretValue", SecretString=NEW_SECRET, VersionStages=["AWSPENDING"])
        versions.append(stored["VersionId"])
        journal.secret_changed = BEGIN + PENDING * HOUR

    async def promote() -> None:
        old, new = versions
        call("UpdateSecretVersionStage", VersionStage="AWSCURRENT", MoveToVersionId=new, RemoveFromVersionId=old)
        journal.secret_changed = BEGIN + CURRENT * HOUR

    sender.at(BEGIN + PENDING * HOUR, store)
    sender.at(BEGIN + CURRENT * HOUR, promote)
