"""The ways to lose events, and healthy months."""

import re
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evidence.models.alarms.cloudwatch import DAY, Minutes
from evidence.models.alarms.declared import Declared
from evidence.models.alarms.readings import Reading
from evidence.models.alarms.traffic import Traffic
from evidence.models.alarms.world import (
    ABSENT,
    CRASHED,
    LOST,
    NOT_DEDUPLICATED,
    THROTTLED,
    Answer,
    Failure,
    World,
    rejection,
)
from openai_webhooks import Malformed, Unverified
from receiver.rejections import PublishFailed, SignatureMismatch, TooLarge
from tests.support.templates import RECEIVER

# All in minutes.
WARM_UP = 8 * DAY  # longer than any alarm looks back
DEADLINE = 3 * 60
MONTH = 30 * DAY


class Scenario(NamedTuple):
    name: str
    answer: Answer
    every: int = 1
    """Hits only the first delivery of so many."""
    new_version: bool = False
    """Whether a gradual deployment causes it."""
    urgent: bool = True
    """Whether the alarm has to fire before DEADLINE. If not, it may also wait for the longest pause."""

    def deadline(self, traffic: Traffic) -> int:
        """Return the minutes that the alarm has from the first failed attempt."""
        return DEADLINE if self.urgent else DEADLINE + max(traffic.longest_pause, traffic.quiet_hours * 60)

    @property
    def silent(self) -> bool:
        """Whether only QuietAlarm can fire."""
        return self.answer == ABSENT


ONE = 10**9
SCENARIOS = (
    Scenario("no stored secret matches", rejection(SignatureMismatch)),
    Scenario("one project of five has no secret", rejection(SignatureMismatch), every=5),
    Scenario("one delivery is too large", rejection(TooLarge), every=ONE),
    Scenario("one delivery is malformed", rejection(Malformed), every=ONE),
    Scenario("API Gateway answers 429", THROTTLED),
    Scenario("nothing arrives", ABSENT, urgent=False),
    Scenario("no bus has the events", LOST),
    Scenario("the receiver answers 503", rejection(PublishFailed)),
    Scenario("the function crashes", CRASHED),
    Scenario("a new version answers 401", rejection(Unverified), new_version=True),
    Scenario("a new version answers 503", rejection(PublishFailed), new_version=True),
    Scenario("a new version crashes", CRASHED, new_version=True),
    Scenario("the deliveries table fails", NOT_DEDUPLICATED, urgent=False),
)


class Run(NamedTuple):
    alarm: str | None
    """The first alarm that notifies. None if there is none before the deadline."""
    minutes: int
    """From the first failed attempt to the alarm. A new version has all traffic by then, as if CodeDeploy had not
    rolled it back: before, retries repair what fails.
    """
    rolled_back: bool = False
    """Whether CanaryAlarm fires while a new version has only a share of the traffic."""


class Month(NamedTuple):
    false_alarms: list[str]
    """The name of the alarm, for each notification."""
    stopped_deployments: float
    """The share of the deployments, at any minute, that CanaryAlarm would stop."""


@cache
def canary() -> tuple[float, int]:
    """Return which share of the traffic a new version gets at first, and for how many minutes."""
    preference = RECEIVER.untransformed().properties("ReceiverFunction")["DeploymentPreference"]["Type"]
    [(percent, minutes)] = re.findall(r"^Canary(\d+)Percent(\d+)Minutes$", preference)
    return int(percent) / 100, int(minutes)


def run(scenario: Scenario, traffic: Traffic, alarms: Declared, rng: np.random.Generator, reading: Reading) -> Run:
    """Run a scenario once."""
    share, minutes = canary()
    deployed = WARM_UP + int(rng.integers(60))
    start = deployed + minutes if scenario.new_version else deployed
    deadline = scenario.deadline(traffic)
    world = World(traffic.arrivals(start + traffic.longest_pause + deadline, rng), rng, reading)
    failed = world.run([Failure(scenario.answer, deployed, every=scenario.every, share=share, complete=start)])
    rolled_back = scenario.new_version and in_alarm(world, alarms, "CanaryAlarm", deployed, minutes).any()
    first = int(failed[failed >= start * 60].min() // 60)
    fired = [
        Run(name, int(np.argmax(on)), bool(rolled_back))
        for name, alarm in alarms.alarms.items()
        if alarm.notifies and (on := in_alarm(world, alarms, name, first, deadline)).any()
    ]
    return min(fired, key=lambda run: run.minutes, default=Run(None, deadline, bool(rolled_back)))


def run_month(traffic: Traffic, alarms: Declared, rng: np.random.Generator, reading: Reading) -> Month:
    """Run 30 healthy days, with a rotation each week, a short outage and a replay.

    A rotation has a gap of a minute, in which no stored secret matches. In an outage of 3 minutes, half of the attempts
    get a 503.
    """
    world = World(traffic.arrivals(WARM_UP + MONTH, rng), rng, reading)
    *rotations, outage, replay = (int(minute) for minute in rng.integers(WARM_UP, WARM_UP + MONTH, 6))
    gaps = [Failure(rejection(SignatureMismatch), minute, minute + 1) for minute in rotations]
    world.run([*gaps, Failure(rejection(PublishFailed), outage, outage + 3, share=0.5, complete=outage + 3)])
    world.replay(replay, minutes=10, events=100)
    false_alarms = []
    for name, alarm in alarms.alarms.items():
        if alarm.notifies:
            on = in_alarm(world, alarms, name, WARM_UP, MONTH)
            false_alarms += [name] * int((on[1:] & ~on[:-1]).sum() + on[0])
    on = in_alarm(world, alarms, "CanaryAlarm", WARM_UP, MONTH)
    stopped = np.convolve(on, np.ones(canary()[1]), mode="valid") > 0
    return Month(false_alarms, float(stopped.mean()))


def in_alarm(world: World, alarms: Declared, name: str, start: int, minutes: int) -> NDArray[np.bool_]:
    """Return whether an alarm is in ALARM, from a minute until some minutes later."""
    at: Minutes = np.arange(start, start + minutes + 1)
    return world.cloudwatch.in_alarm(alarms.alarms[name], alarms.rules, at)
