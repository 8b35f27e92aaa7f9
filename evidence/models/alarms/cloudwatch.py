"""CloudWatch: metrics whose points arrive late, Contributor Insights, and the evaluation of alarms.

The resolution is a minute. An alarm is evaluated every minute, on periods that end at the evaluation:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarm-evaluation-window.html
"""

import operator
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evidence.models.alarms.declared import Alarm, Metric
from evidence.models.alarms.metric_math import Points, evaluate
from evidence.models.alarms.readings import DELAYS, Reading

DAY = 1_440  # minutes
EVENTS = "AWS/Events"
INSIGHTS = Metric("AWS/CloudWatch", "insights")

COMPARISONS: Mapping[str, Callable[[Points, float], NDArray[np.bool_]]] = {
    "GreaterThanOrEqualToThreshold": operator.ge,
    "GreaterThanThreshold": operator.gt,
    "LessThanThreshold": operator.lt,
}

type Minutes = NDArray[np.int64]


class Refusals(NamedTuple):
    """Refused attempts of some deliveries."""

    outcome: str
    minutes: Minutes
    """A row for each attempt, and a column for each delivery. Attempts that do not happen are at NEVER."""


NEVER = np.iinfo(np.int64).max // 2


class CloudWatch:
    """The metrics of one stack in a number of minutes."""

    def __init__(self, minutes: int, rng: np.random.Generator, reading: Reading) -> None:
        self.refusals: list[Refusals] = []
        self._minutes = minutes
        self._rng = rng
        self._reading = reading
        self._values: dict[Metric, Points] = defaultdict(lambda: np.zeros(minutes))
        self._reported: dict[Metric, NDArray[np.bool_]] = defaultdict(lambda: np.zeros(minutes, bool))
        self._delays: dict[Metric, Minutes] = {}
        self._hour = int(rng.integers(60))

    def add(self, metric: Metric, values: Minutes, *, reported: NDArray[np.bool_] | None = None) -> None:
        """Add a value to each minute. Minutes without a value have no point, except those that are `reported`."""
        self._values[metric] += values
        self._reported[metric] |= values > 0 if reported is None else reported

    def in_alarm(self, alarm: Alarm, rules: Mapping[str, frozenset[str]], at: Minutes) -> NDArray[np.bool_]:
        """Return whether an alarm is in ALARM at consecutive minutes. Before the first one, it is not."""
        if alarm.period * alarm.evaluation_periods <= DAY:
            return states(alarm, self._points(alarm, rules, at))
        # An alarm that looks back further than a day is evaluated every hour.
        hours = np.arange(at[0] // 60 * 60 + self._hour - 60, at[-1] + 1, 60)
        return states(alarm, self._points(alarm, rules, hours))[np.searchsorted(hours, at, side="right") - 1]

    def _points(self, alarm: Alarm, rules: Mapping[str, frozenset[str]], at: Minutes) -> Points:
        rows = alarm.evaluation_periods + self._reading.extra_periods

        def rule(name: str) -> Points:
            return self._most_refused(rules[name], alarm.period, rows, at)

        series = {id_: self._sums(metric, alarm.period, rows, at) for id_, metric in alarm.metrics.items()}
        for id_, expression in alarm.expressions.items():
            points = series[id_] = evaluate(expression, series, rule=rule, no_data=self._reading.no_data)
        return points

    def _sums(self, metric: Metric, period: int, rows: int, at: Minutes) -> Points:
        """Return the sum of each of the last periods that end at the minutes `at`, without late points."""
        ends = np.clip(at - np.arange(rows + 1)[:, None] * period, 0, self._minutes)
        delays = self._delay(metric)
        late = [(back, np.clip(at - back, 0, None)) for back in range(1, min(int(delays.max()), rows * period) + 1)]
        sums = []
        for of_minute in (self._values[metric], self._reported[metric].astype(float)):
            total = np.concatenate([[0.0], np.cumsum(of_minute)])[ends]
            periods = total[:-1] - total[1:]
            for back, minute in late:
                periods[(back - 1) // period] -= np.where((delays[minute] >= back) & (at >= back), of_minute[minute], 0)
            sums.append(periods)
        return np.where(sums[1] > 0.5, sums[0], np.nan)  # The second is a count, but of floats.

    def _most_refused(self, outcomes: frozenset[str], period: int, rows: int, at: Minutes) -> Points:
        """Return how often the delivery with the most refusals was refused in each of the last periods."""
        most = np.full((rows, len(at)), np.nan)
        delays, size = self._delay(INSIGHTS), len(at) + 1
        for number, first, last in self._repeated(outcomes, period):
            for row in range(rows):
                # From `begin` until `end`, this period contains the refusals, and they are visible.
                begin = last + 1 + np.maximum(delays[last], row * period)
                end = first + 1 + (row + 1) * period
                begin, end = (np.clip(of[begin < end] - at[0], 0, len(at)) for of in (begin, end))
                containing = np.cumsum(np.bincount(begin, minlength=size) - np.bincount(end, minlength=size))[:-1]
                np.fmax(most[row], number, out=most[row], where=containing > 0)
        return most

    def _repeated(self, outcomes: frozenset[str], period: int) -> Iterator[tuple[int, Minutes, Minutes]]:
        """Yield each number of refusals of one delivery within a period, with their first and last minutes."""
        for minutes in (of.minutes for of in self.refusals if of.outcome in outcomes):
            for number in range(1, len(minutes) + 1):
                for first, last in zip(minutes, minutes[number - 1 :], strict=False):
                    counted = (last < self._minutes) & (last - first < period)
                    yield number, first[counted], last[counted]

    def _delay(self, metric: Metric) -> Minutes:
        """Return after how many minutes each minute of a metric is visible."""
        if metric not in self._delays:
            delays = self._reading.matched_delays if metric.namespace == EVENTS else DELAYS
            self._delays[metric] = self._rng.choice(list(delays), self._minutes, p=list(delays.values()))
        return self._delays[metric]


def states(alarm: Alarm, points: Points) -> NDArray[np.bool_]:
    """Return whether an alarm is in ALARM at each evaluation.

    Of the fetched points, the newest that exist count. `TreatMissingData` decides about the others:
    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
    """
    known = ~np.isnan(points)
    newest = known & (np.cumsum(known, axis=0) <= alarm.evaluation_periods)
    existing = newest.sum(axis=0)
    breaching = (COMPARISONS[alarm.comparison](points, alarm.threshold) & newest).sum(axis=0)
    if alarm.missing == "breaching":
        breaching += alarm.evaluation_periods - existing
    on: NDArray[np.bool_] = breaching >= alarm.datapoints
    if alarm.missing == "ignore":  # The state changes only if existing points decide it.
        decided = on | (breaching < existing)
        latest = np.maximum.accumulate(np.where(decided, np.arange(len(on)), -1))
        on = on[latest] & (latest >= 0)
    return on
