"""The alarms and the Contributor Insights rules that a template declares."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from tests.support.templates import RECEIVER, Stack

TOPIC = "arn:aws:sns:us-east-1:123456789012:alarms"
REFERENCES = {"ArrivalRule.Arn": "arn:aws:events:us-east-1:123456789012:rule/bus/arrivals"}


class Metric(NamedTuple):
    namespace: str
    name: str


@dataclass(frozen=True)
class Alarm:
    name: str
    metrics: Mapping[str, Metric]
    """By the id that the expression uses."""
    expressions: Mapping[str, str]
    """By their ids. The last one is the alarm's."""
    period: int
    """In minutes."""
    evaluation_periods: int
    datapoints: int
    threshold: float
    comparison: str
    missing: str
    """`TreatMissingData`."""
    notifies: bool


class Declared(NamedTuple):
    alarms: dict[str, Alarm]
    rules: dict[str, frozenset[str]]
    """The outcomes that each Contributor Insights rule counts, by the name of the rule."""


@cache
def declared(*, quiet_hours: int = 0) -> Declared:
    """Return what the receiver's template creates with all alarms and a topic. No QuietAlarm if `quiet_hours` is 0."""
    stack = RECEIVER.at(GradualDeployment="true", AlarmTopicArn=TOPIC, QuietHours=str(quiet_hours))
    created = stack.created
    return Declared(
        {
            name: _alarm(name, stack, properties)
            for name, properties in stack.of("CloudWatch::Alarm").items()
            if name in created
        },
        dict(_rule(stack, properties) for properties in stack.of("CloudWatch::InsightRule").values()),
    )


def _alarm(name: str, stack: Stack, properties: Mapping[str, Any]) -> Alarm:
    resolved = {key: stack.value(of, REFERENCES) for key, of in properties.items()}
    single = [{"Id": "metric", "MetricStat": {"Metric": resolved}}, {"Id": "result", "Expression": "metric"}]
    queries = sorted(resolved.get("Metrics", single), key=lambda query: query.get("ReturnData", True))
    stats = {query["Id"]: query["MetricStat"] for query in queries if "MetricStat" in query}
    [seconds] = {of["Period"] for of in (resolved, *queries, *stats.values()) if "Period" in of}
    return Alarm(
        name=name,
        metrics={id_: Metric(stat["Metric"]["Namespace"], stat["Metric"]["MetricName"]) for id_, stat in stats.items()},
        expressions={query["Id"]: query["Expression"] for query in queries if "Expression" in query},
        period=int(seconds) // 60,
        evaluation_periods=int(resolved["EvaluationPeriods"]),
        datapoints=int(resolved.get("DatapointsToAlarm", resolved["EvaluationPeriods"])),
        threshold=float(resolved["Threshold"]),
        comparison=resolved["ComparisonOperator"],
        missing=resolved["TreatMissingData"],
        notifies=TOPIC in resolved.get("AlarmActions", []),
    )


def _rule(stack: Stack, properties: Mapping[str, Any]) -> tuple[str, frozenset[str]]:
    filters = json.loads(stack.value(properties["RuleBody"]))["Contribution"]["Filters"]
    [outcomes] = [of["In"] for of in filters if of["Match"] == "$.outcome"]
    return stack.value(properties["RuleName"]), frozenset(outcomes)
