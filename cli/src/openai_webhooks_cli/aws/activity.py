"""What `status` and `doctor` read about a deployed stack: its metrics, the receiver's log and its alarms."""

import json
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from openai_webhooks_cli.aws.rules import arrival_rule
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.shell.background import start
from openai_webhooks_cli.shell.errors import CannotRun
from openai_webhooks_cli.shell.printable import printable
from openai_webhooks_cli.shell.times import DAY, age

REFUSED = ("Unverified", "SignatureMismatch", "Malformed", "TooLarge", "NotConfigured", "PublishFailed")
OUTCOMES = ("Published", "Duplicate", "InProgress", *REFUSED)
BLOCKING = ("NotConfigured", "PublishFailed")
"""Outcomes with which the receiver refuses what it should accept."""
NOTED = ("SchemaDrift", "DeduplicationUnavailable", "SecretMalformed")
"""What the receiver counts in addition to a delivery's outcome."""

PERIOD = 300  # seconds of a value in Counts
_FOR_CODEDEPLOY = ("CanaryAlarm",)
"""Alarms that roll a deployment back, and notify nobody."""
_STREAMS = 5
_LINES = 25  # a stream also has lines that are not about a delivery
_LOG_SEARCH = 10  # seconds

Key = tuple[str, str]
"""A metric, and the rule that it belongs to or an empty text."""


class Counts:
    """Metrics of the last 24 hours: by metric and time (Unix seconds) of each period with a value."""

    def __init__(self, values: Mapping[Key, Mapping[float, float]]) -> None:
        self._values = values

    def total(self, metric: str, rule: str = "", *, since: float = 0, until: float = float("inf")) -> int:
        """Return the sum, of the periods that start between two times."""
        values = self._values.get((metric, rule), {})
        return round(sum(value for start, value in values.items() if since <= start <= until))

    def newest(self, metric: str, rule: str = "") -> float:
        """Return the start of the newest period with a count, or 0."""
        return max((start for start, value in self._values.get((metric, rule), {}).items() if value), default=0.0)


class Line(NamedTuple):
    """A line of the receiver's log."""

    time: float
    """In Unix seconds."""
    fields: Mapping[str, Any]


class Alarm(NamedTuple):
    """An alarm of the stack."""

    logical_id: str
    name: str
    state: str
    """`OK`, `ALARM` or `INSUFFICIENT_DATA`; `MISSING` if somebody deleted the alarm."""
    notifies: bool
    """Whether it has an action that is enabled, or needs none."""


def read_counts(stack: Stack, rules: Iterable[str] = ()) -> Counts:
    """Return what the receiver counted, the arrivals on the bus, and the failed invocations of some rules."""
    receiver = {"service": "receiver"}
    metrics = {(name, ""): _metric(stack.name, name, receiver) for name in (*OUTCOMES, *NOTED)}
    if arrivals := arrival_rule(stack):
        metrics["MatchedEvents", ""] = _metric("AWS/Events", "MatchedEvents", _rule_dimensions(stack, arrivals))
    for rule in rules:
        metrics["FailedInvocations", rule] = _metric("AWS/Events", "FailedInvocations", _rule_dimensions(stack, rule))
    keys = list(metrics)
    queries = [
        {"Id": f"q{number}", "MetricStat": {"Metric": metrics[key], "Period": PERIOD, "Stat": "Sum"}}
        for number, key in enumerate(keys)
    ]
    # CloudWatch answers faster if the times are at the borders of periods.
    end = datetime.fromtimestamp((stack.now() // PERIOD + 1) * PERIOD, UTC)
    pages = stack.client("cloudwatch").get_paginator("get_metric_data")
    values: dict[Key, dict[float, float]] = {}
    for page in pages.paginate(MetricDataQueries=queries, StartTime=end - timedelta(seconds=DAY), EndTime=end):
        for result in page["MetricDataResults"]:
            times = (moment.timestamp() for moment in result["Timestamps"])
            values.setdefault(keys[int(result["Id"][1:])], {}).update(zip(times, result["Values"], strict=True))
    return Counts(values)


def read_deliveries(stack: Stack) -> list[Line]:
    """Return the lines of the newest deliveries in the receiver's log. The newest is the last."""
    logs, group = stack.client("logs"), stack.physical_id("ReceiverLog")
    # CloudWatch can know a stream's newest time an hour late, so the first stream is not always the newest one.
    streams = logs.describe_log_streams(logGroupName=group, orderBy="LastEventTime", descending=True, limit=_STREAMS)
    read = partial(logs.get_log_events, logGroupName=group, limit=_LINES, startFromHead=False)
    tails = [start(partial(read, logStreamName=stream["logStreamName"])) for stream in streams["logStreams"]]
    lines = [_parse(event) for tail in tails for event in tail.result()["events"]]
    found = [line for line in lines if "outcome" in line.fields]
    if not found:  # the newest streams can have only lines about other things
        searched, _ = search_log(stack, "outcome", since=stack.now() - DAY, until=stack.now())
        found = [line for line in searched if "outcome" in line.fields]
    return sorted(found, key=lambda line: line.time)


def search_log(stack: Stack, word: str, *, since: float, until: float) -> tuple[list[Line], bool]:
    """Return the lines of the receiver's log with a word, and whether the search was complete after 10 seconds."""
    deadline = time.monotonic() + _LOG_SEARCH
    lines: list[Line] = []
    pages = stack.client("logs").get_paginator("filter_log_events")
    for page in pages.paginate(
        logGroupName=stack.physical_id("ReceiverLog"),
        filterPattern=f'"{word}"',
        startTime=int(since * 1000),
        endTime=int(until * 1000),
    ):
        lines += map(_parse, page["events"])
        if time.monotonic() > deadline:
            return lines, False
    return lines, True


def require_measured(stack: Stack, found: object) -> None:
    """Raise CannotRun if nothing was found, and the stack has no function whose deliveries AWS could measure."""
    if not found and "ReceiverFunction" not in stack.resources:
        raise CannotRun("not measured in the embedded AWS: `openai-webhooks dev` prints a line for each delivery")


def read_alarms(stack: Stack) -> list[Alarm]:
    """Return the alarms of the stack."""
    names = {
        logical_id: resource.physical_id
        for logical_id, resource in stack.resources.items()
        if resource.type == "AWS::CloudWatch::Alarm"
    }
    if not names:
        return []
    answer = stack.client("cloudwatch").describe_alarms(AlarmNames=list(names.values()))
    found = {alarm["AlarmName"]: alarm for alarm in answer["MetricAlarms"]}
    missing = {"StateValue": "MISSING", "ActionsEnabled": False}
    return [
        Alarm(logical_id, name, alarm["StateValue"], logical_id in _FOR_CODEDEPLOY or _acts(alarm))
        for logical_id, name in names.items()
        for alarm in [found.get(name, missing)]
    ]


def is_watched(stack: Stack, queue: str) -> bool:
    """Return whether an alarm that notifies somebody watches the number of messages in a queue."""
    dimensions = [{"Name": "QueueName", "Value": queue}]
    answer = stack.client("cloudwatch").describe_alarms_for_metric(
        Namespace="AWS/SQS", MetricName="ApproximateNumberOfMessagesVisible", Dimensions=dimensions
    )
    # Some emulators ignore the dimensions.
    return any(_acts(alarm) for alarm in answer["MetricAlarms"] if alarm["Dimensions"] == dimensions)


def unconfirmed_email(stack: Stack) -> str:
    """Return the address that gets no mails of the alarms, because nobody clicked the link that SNS sent to it."""
    topic = stack.physical_id("AlarmTopic")
    if not topic:
        return ""
    attributes = stack.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]
    return "" if int(attributes["SubscriptionsConfirmed"]) else stack.parameters["AlarmEmail"]


def _acts(alarm: Mapping[str, Any]) -> bool:
    return bool(alarm["ActionsEnabled"] and alarm.get("AlarmActions"))


def delivery_text(line: Line | None, now: float) -> str:
    """Return when the last delivery came, its type and its outcome. `now` is in Unix seconds."""
    if not line:
        return "no delivery yet"
    event_type = printable(str(line.fields.get("event_type", "type unknown")), 128)
    return f"{age(now - line.time)} ago: {event_type}, {printable(str(line.fields['outcome']))}"


def outcomes_text(counts: Counts) -> str:
    """Return the number of deliveries with each outcome. Published ones come first."""
    others = [f"{counts.total(name):,} {name}" for name in (*OUTCOMES[1:], *NOTED) if counts.total(name)]
    return ", ".join([f"{counts.total('Published'):,} Published", *others])


def _metric(namespace: str, name: str, dimensions: Mapping[str, str]) -> dict[str, Any]:
    pairs = [{"Name": dimension, "Value": value} for dimension, value in dimensions.items()]
    return {"Namespace": namespace, "MetricName": name, "Dimensions": pairs}


def _rule_dimensions(stack: Stack, rule: str) -> dict[str, str]:
    # https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-monitoring.html
    bus = {} if stack.bus == "default" else {"EventBusName": stack.bus}
    return {**bus, "RuleName": rule}


def _parse(event: Mapping[str, Any]) -> Line:
    """Read a line. One that is not a JSON object has no fields."""
    try:
        fields = json.loads(event["message"])
    except (ValueError, RecursionError):
        fields = {}
    return Line(event["timestamp"] / 1000, fields if isinstance(fields, dict) else {})
