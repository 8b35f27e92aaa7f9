"""OpenAI's deliveries and retries, strangers' requests, and the metrics that both leave in CloudWatch."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evidence.models.alarms.cloudwatch import EVENTS, NEVER, CloudWatch, Minutes, Refusals
from evidence.models.alarms.declared import Metric
from evidence.models.alarms.readings import Reading
from evidence.models.inputs import JITTER
from openai_webhooks import Unverified
from receiver.rejections import REJECTIONS, PublishFailed, SignatureMismatch
from tests.support.templates import STACK_NAME

NEXT_MINUTE = 0.012
"""The share of events that match the rule in the minute after their publication: it takes 0.7 s on average."""

type Seconds = NDArray[np.float64]


class Answer(NamedTuple):
    """What an attempt gets, and the metrics that count it."""

    status: int
    counted: tuple[str, ...] = ()
    """Metrics in the stack's own namespace."""
    on_bus: bool = False
    outcome: str | None = None
    """Of a rejection, as in the receiver's log."""


def rejection(kind: type[Exception]) -> Answer:
    """Return the receiver's own answer to a rejected delivery."""
    outcome, status, _ = REJECTIONS[kind]
    return Answer(status, (outcome,), outcome=outcome)


PUBLISHED = Answer(200, ("Published",), on_bus=True)
LOST = Answer(200, ("Published",))
NOT_DEDUPLICATED = Answer(200, ("Published", "DeduplicationUnavailable"), on_bus=True)
THROTTLED = Answer(429, ("Throttled",))  # by API Gateway. The metric filter ThrottledRequests counts it.
CRASHED = Answer(500)  # by API Gateway
ABSENT = Answer(0)  # The request does not reach API Gateway.


class Failure(NamedTuple):
    """A time in which attempts get an answer other than PUBLISHED."""

    answer: Answer
    start: int
    stop: int = NEVER
    """In minutes, like `start`."""
    every: int = 1
    """Hits only the first delivery of so many."""
    share: float = 1.0
    """Hits only a share of the attempts before the minute `complete`."""
    complete: int = 0


class World:
    """Some days of deliveries to one stack. `arrivals` are the new deliveries of each minute."""

    def __init__(self, arrivals: Minutes, rng: np.random.Generator, reading: Reading) -> None:
        self.cloudwatch = CloudWatch(len(arrivals), rng, reading)
        self._arrivals = arrivals
        self._rng = rng
        self._reading = reading

    def run(self, failures: Iterable[Failure]) -> Seconds:
        """Fill the metrics. Return the times of all attempts that a failure hits."""
        healthy = self._arrivals.copy()
        failed = []
        for failure in failures:
            minutes = np.arange(failure.start, min(failure.stop, len(healthy)))
            times = np.repeat(minutes * 60.0, healthy[minutes])
            healthy[minutes] = 0
            failed += self._deliver(np.sort(times + self._rng.uniform(0, 60, len(times))), failure)
        self._answer(PUBLISHED, healthy)
        failures_of_aws = self._rng.poisson(healthy * self._reading.failure_rate, (2, len(healthy)))
        self._answer(rejection(PublishFailed), failures_of_aws[0])
        self._count("DeduplicationUnavailable", failures_of_aws[1])
        self._strangers()
        return np.concatenate(failed)

    def replay(self, minute: int, *, minutes: int, events: int) -> None:
        """Match `events` on the bus in each of some minutes. The receiver publishes nothing."""
        matched = np.zeros(len(self._arrivals), int)
        matched[minute : minute + minutes] = events
        self.cloudwatch.add(Metric(EVENTS, "MatchedEvents"), matched)

    def _deliver(self, times: Seconds, failure: Failure) -> list[Seconds]:
        """Attempt deliveries until each is accepted. Return the times of the attempts that the failure hits."""
        size, answer = len(self._arrivals), failure.answer
        deliveries, at, failed, refused = np.arange(len(times)), times, [], []
        for delay in (*self._reading.retry_delays, np.inf):
            minute = at // 60
            hit = (deliveries % failure.every == 0) & (minute < failure.stop)
            hit &= (minute >= failure.complete) | (self._rng.random(len(at)) < failure.share)
            self._answer(PUBLISHED, np.bincount((at[~hit] // 60).astype(int), minlength=size))
            self._answer(answer, np.bincount((at[hit] // 60).astype(int), minlength=size))
            deliveries, at = deliveries[hit], at[hit]
            failed.append(at)
            if answer.status == 200:  # OpenAI does not retry an accepted delivery.
                break
            attempt = np.full(len(times), NEVER)
            attempt[deliveries] = at // 60
            refused.append(attempt)
            at = at + delay * (1 + self._rng.uniform(0, JITTER, len(at)))
            deliveries, at = deliveries[at < size * 60], at[at < size * 60]
        if refused:
            self._refused(answer, np.array(refused))
        return failed

    def _answer(self, answer: Answer, counts: Minutes) -> None:
        """Count answers of each minute."""
        for metric in answer.counted:
            self._count(metric, counts)
        if answer.on_bus:
            late = self._rng.binomial(counts, NEXT_MINUTE)
            matched = counts - late
            matched[1:] += late[:-1]
            self.cloudwatch.add(Metric(EVENTS, "MatchedEvents"), matched)
        # These metrics have a point for each request or invocation, also if it is 0.
        if answer != ABSENT:
            self.cloudwatch.add(Metric("AWS/ApiGateway", "5xx"), counts * (answer.status >= 500), reported=counts > 0)
        if answer not in {ABSENT, THROTTLED}:
            self.cloudwatch.add(Metric("AWS/Lambda", "Errors"), counts * (answer == CRASHED), reported=counts > 0)

    def _count(self, name: str, counts: Minutes) -> None:
        self.cloudwatch.add(Metric(STACK_NAME, name), counts)

    def _strangers(self) -> None:
        size = len(self._arrivals)
        # The rule does not count them, because their lines have no webhook_id.
        self._answer(rejection(Unverified), self._rng.poisson(self._reading.unsigned / 60, size))
        forgeries = self._rng.poisson(self._reading.forgeries / 60, size)
        mismatch = rejection(SignatureMismatch)
        self._answer(mismatch, forgeries)
        self._refused(mismatch, np.repeat(np.arange(size), forgeries)[None, :])

    def _refused(self, answer: Answer, minutes: Minutes) -> None:
        if answer.outcome:
            self.cloudwatch.refusals.append(Refusals(answer.outcome, minutes))
