"""The model of CloudWatch by hand, and mutations of the template's alarms that the simulation detects."""

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from evidence import results
from evidence.models.alarms.__main__ import generator
from evidence.models.alarms.cloudwatch import CloudWatch, Refusals, states
from evidence.models.alarms.declared import Alarm, Declared, Metric, declared
from evidence.models.alarms.metric_math import Points, evaluate
from evidence.models.alarms.readings import READINGS, Reading
from evidence.models.alarms.scenarios import SCENARIOS, run, run_month
from evidence.models.alarms.traffic import BETWEEN, TRAFFIC
from receiver.rejections import REJECTIONS

_ = np.nan
METRIC = Metric("namespace", "metric")
ALARM = Alarm("alarm", {"m": METRIC}, {"m": "m"}, 5, 3, 3, 0, "GreaterThanThreshold", "notBreaching", notifies=True)
AT_ONCE = Reading(extra_periods=2, matched_delays={0: 1.0})


def series(*points: float) -> Points:
    """Return the points of one evaluation, newest first."""
    return np.array(points)[:, None]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a + b", [3, 1, 2, _]),
        ("a / b", [0.5, _, 0, _]),
        ("a > b", [0, 1, 0, _]),
        ("a * 2", [2, 2, _, _]),
        ("1 + a * 2", [3, 3, _, _]),
        ("FILL(a, 0)", [1, 1, 0, 0]),
        ("FILL(b, REPEAT)", [2, 2, 2, _]),
        ("FILL(a / b, REPEAT)", [0.5, 0, 0, _]),
        ("a > 0 OR b > 5 AND b > 9", [1, 1, 0, _]),
        ("FILL(none, 0)", [0, 0, 0, 0]),
        ("a + none", [1, 1, _, _]),
    ],
)
def test_metric_math_by_hand(expression: str, expected: list[float]) -> None:
    named = {"a": series(1, 1, _, _), "b": series(2, _, 2, _), "none": series(_, _, _, _)}

    points = evaluate(expression, named, rule=lambda _: series())

    np.testing.assert_array_equal(points[:, 0], expected)


@pytest.mark.parametrize("expression", ["IF(a, 1, 0)", "-a", "FILL(a, LINEAR)"])
def test_unknown_metric_math_is_an_error(expression: str) -> None:
    with pytest.raises(ValueError, match="does not know"):
        evaluate(expression, {"a": series(1)}, rule=lambda _: series())


# AWS's own examples: five points are fetched, and 0 is good, X is breaching, - is missing. The newest is on the right.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
@pytest.mark.parametrize("was", [False, True])
@pytest.mark.parametrize(
    ("datapoints", "points", "ignore", "breaching", "not_breaching"),
    [
        (3, "0-X-X", False, False, False),
        (3, "0----", False, False, False),
        (3, "-----", None, True, False),
        (3, "0XX-X", True, True, True),
        (3, "----X", None, True, False),
        (3, "X----", None, True, False),
        (2, "0-X-X", True, True, True),
        (2, "00X0X", True, True, True),
        (2, "0-X--", False, True, False),
        (2, "----0", False, True, False),
        (2, "----X", None, True, False),
    ],
)
def test_missing_data_as_aws_documents(
    *, datapoints: int, points: str, ignore: bool | None, breaching: bool, not_breaching: bool, was: bool
) -> None:
    alarm = replace(ALARM, datapoints=datapoints)
    before = [float(was)] * 5
    now = [{"0": 0.0, "X": 1.0, "-": _}[point] for point in reversed(points)]

    expected = {"ignore": was if ignore is None else ignore, "breaching": breaching, "notBreaching": not_breaching}

    for missing, state in expected.items():
        assert states(replace(alarm, missing=missing), np.array([before, now]).T)[1] == state, missing


def test_point_counts_once_it_is_visible() -> None:
    cloudwatch = CloudWatch(60, generator(), Reading(matched_delays={3: 1.0}))
    matched = Metric("AWS/Events", "MatchedEvents")
    alarm = replace(ALARM, metrics={"m": matched}, evaluation_periods=1, datapoints=1)
    cloudwatch.add(matched, np.eye(1, 60, 30, dtype=int)[0])

    on = cloudwatch.in_alarm(alarm, {}, np.arange(60))

    # The minute 30 ends at 31, is visible at 34, and is in one of the three periods of 5 minutes until 45.
    assert np.flatnonzero(on).tolist() == list(range(34, 46))


def test_rule_counts_the_most_refused_delivery() -> None:
    cloudwatch = CloudWatch(300, generator(), AT_ONCE)
    cloudwatch.refusals = [
        Refusals("Malformed", np.array([[100, 100], [100, 107], [106, 250]])),
        Refusals("Published", np.array([[200], [201], [202]])),
    ]
    alarm = replace(
        ALARM,
        metrics={},
        expressions={"m": 'INSIGHT_RULE_METRIC("rule", "MaxContributorValue")'},
        period=10,
        evaluation_periods=1,
        datapoints=1,
        threshold=2,
    )

    on = np.flatnonzero(cloudwatch.in_alarm(alarm, {"rule": frozenset(["Malformed"])}, np.arange(300)))

    assert 107 <= on[0] <= 112  # at most 5 minutes late
    assert on[-1] == 110 + 2 * 10  # in the oldest of three periods


def test_rule_counts_every_rejection_that_can_be_a_loss() -> None:
    [outcomes] = declared().rules.values()

    assert outcomes == {rejection.outcome for rejection in REJECTIONS.values()} - {"InProgress"}


def test_results_have_the_alarms_of_the_template() -> None:
    alarms = {name: asdict(alarm) for name, alarm in declared(quiet_hours=1).alarms.items()}

    assert results.read("alarms")["alarms"] == json.loads(json.dumps(alarms))


def test_results_have_no_missing_and_no_false_alarm() -> None:
    found = results.read("alarms")
    cells = [cell for of in found["standard"]["scenarios"].values() for cell in of.values()]

    assert [cell["missed"] for cell in cells] == [0] * len(SCENARIOS) * len(TRAFFIC)
    assert [cell["false_alarms"] for cell in found["standard"]["healthy"].values()] == [{}] * len(TRAFFIC + BETWEEN)
    assert [(of["missed"], of["false_alarms"]) for of in found["readings"].values()] == [(0, {})] * len(READINGS)


def with_changes(name: str, changes: dict[str, Any], *, quiet_hours: int) -> Declared:
    """Return the template's alarms, of which one is changed and the other ones do not notify."""
    alarms, rules = declared(quiet_hours=quiet_hours)
    silent = {other: replace(alarm, notifies=other == name) for other, alarm in alarms.items()}
    return Declared(silent | {name: replace(silent[name], **changes)}, rules)


ARRIVED = "published / (published + FILL(matched, 0))"
FAILED = "FILL(failed, 0) + FILL(throttled, 0)"
ONE_OF_ONE = {"evaluation_periods": 1, "datapoints": 1}
NO_EXTRA_PERIODS, LATE_MATCHES, SLOW_RETRIES, MORE_FAILURES = READINGS[1], READINGS[3], READINGS[5], READINGS[7]
NOTHING_FILLED = Reading(no_data="stays empty", extra_periods=0, forgeries=0, unsigned=0)


@pytest.mark.parametrize(
    ("name", "changes", "scenario", "traffic", "reading"),
    [
        ("RefusedAlarm", {"threshold": 4}, "one delivery is too large", "0.05 per hour", SLOW_RETRIES),
        ("RefusedAlarm", {"period": 5}, "one delivery is too large", "1 per hour", AT_ONCE),
        ("RefusedAlarm", {"period": 60}, "one delivery is too large", "1 per hour", SLOW_RETRIES),
        ("UnavailableAlarm", {"threshold": 1}, "the function crashes", "1 per hour", AT_ONCE),
        ("UnavailableAlarm", {"datapoints": 4}, "the function crashes", "0.05 per hour", SLOW_RETRIES),
        ("UnavailableAlarm", {"evaluation_periods": 10}, "the function crashes", "0.05 per hour", AT_ONCE),
        ("UnavailableAlarm", {"period": 1}, "the function crashes", "0.05 per hour", SLOW_RETRIES),
        ("ArrivalAlarm", {"threshold": 1.1}, "no bus has the events", "1 per hour", AT_ONCE),
        ("ArrivalAlarm", {"period": 60}, "no bus has the events", "1 per hour", AT_ONCE),
        ("ArrivalAlarm", {"expressions": {"lost": ARRIVED}}, "no bus has the events", "1 per hour", AT_ONCE),
        ("QuietAlarm", {"threshold": 0}, "nothing arrives", "100 per hour", AT_ONCE),
        ("QuietAlarm", {"missing": "notBreaching"}, "nothing arrives", "100 per hour", NOTHING_FILLED),
        ("DeduplicationAlarm", {"threshold": 1}, "the deliveries table fails", "1 per hour", AT_ONCE),
        ("DeduplicationAlarm", {"datapoints": 24}, "the deliveries table fails", "1 per hour", AT_ONCE),
    ],
)
def test_mutation_misses_a_scenario(
    name: str, changes: dict[str, Any], scenario: str, traffic: str, reading: Reading
) -> None:
    [of] = [of for of in SCENARIOS if of.name == scenario]
    [rate] = [rate for rate in TRAFFIC if rate.name == traffic]
    quiet_hours = rate.quiet_hours if name == "QuietAlarm" else 0

    def alarm(changes: dict[str, Any]) -> str | None:
        return run(of, rate, with_changes(name, changes, quiet_hours=quiet_hours), generator(1), reading).alarm

    assert (alarm({}), alarm(changes)) == (name, None)


@pytest.mark.parametrize(
    ("name", "changes", "traffic", "reading"),
    [
        ("RefusedAlarm", {"threshold": 2}, "100 per hour", AT_ONCE),
        ("RefusedAlarm", {"missing": "breaching"}, "1 per hour", NO_EXTRA_PERIODS),
        ("UnavailableAlarm", {"datapoints": 2}, "1,000 per hour", AT_ONCE),
        ("UnavailableAlarm", {"missing": "breaching"}, "0.05 per hour", NOTHING_FILLED),
        ("UnavailableAlarm", {"expressions": {"any": FAILED}}, "100,000 per hour", AT_ONCE),
        ("ArrivalAlarm", ONE_OF_ONE, "1 per hour", LATE_MATCHES),
        ("ArrivalAlarm", {"threshold": 0.5}, "1 per hour", AT_ONCE),
        ("ArrivalAlarm", {"period": 1}, "1 per hour", LATE_MATCHES),
        ("ArrivalAlarm", {"missing": "breaching"}, "1 per hour", AT_ONCE),
        ("QuietAlarm", {"threshold": 2}, "1 per hour", AT_ONCE),
        ("QuietAlarm", {"period": 5}, "1 per hour", AT_ONCE),
        ("QuietAlarm", {"evaluation_periods": 3, "datapoints": 3}, "1 per hour", AT_ONCE),
        ("DeduplicationAlarm", ONE_OF_ONE, "10 per hour", Reading(failure_rate=3e-4)),
        ("DeduplicationAlarm", {"period": 5, **ONE_OF_ONE}, "1,000 per hour", MORE_FAILURES),
        ("DeduplicationAlarm", {"missing": "breaching"}, "bursts", AT_ONCE),
    ],
)
def test_mutation_raises_a_false_alarm(name: str, changes: dict[str, Any], traffic: str, reading: Reading) -> None:
    [rate] = [rate for rate in (*TRAFFIC, *BETWEEN) if rate.name == traffic]
    quiet_hours = rate.quiet_hours if name == "QuietAlarm" else 0

    def false_alarms(changes: dict[str, Any]) -> list[str]:
        return run_month(rate, with_changes(name, changes, quiet_hours=quiet_hours), generator(1), reading).false_alarms

    assert false_alarms({}) == []
    assert name in false_alarms(changes)


@pytest.mark.parametrize(("changes", "rolled_back"), [({}, True), ({"threshold": 1}, False)])
def test_canary_alarm_rolls_back(*, changes: dict[str, Any], rolled_back: bool) -> None:
    alarms = with_changes("CanaryAlarm", changes, quiet_hours=0)

    assert run(SCENARIOS[-2], TRAFFIC[3], alarms, generator(1), AT_ONCE).rolled_back == rolled_back
