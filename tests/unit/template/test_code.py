"""The template and the code agree."""

import ast
import itertools
import json
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final, get_args

import pytest

from receiver.receiver import Outcome
from receiver.rejections import REJECTIONS
from scripts import artifact
from tests.support.paths import ROOT
from tests.support.templates import RECEIVER, receiver_environment

SOURCES: Final = sorted((ROOT / "src").rglob("*.py"))
POWERTOOLS: Final = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE"}
BOTOCORE: Final = {"AWS_ENDPOINT_URL"}
TOPIC: Final = "arn:aws:sns:us-east-1:111122223333:ops"
ARRIVAL_RULE: Final = {"ArrivalRule.Arn": "arn:aws:events:us-east-1:111122223333:rule/EventBus/NAME"}


def test_template_sets_variables_that_receiver_reads() -> None:
    assert receiver_environment().keys() == variables_read_in(SOURCES) | POWERTOOLS | BOTOCORE


def test_only_app_reads_clock_and_environment() -> None:
    readers = {
        file.relative_to(ROOT / "src").as_posix() for file in SOURCES if {"os", "time"} & imported(file.read_text())
    }

    assert readers == {"receiver/app.py"}


def test_code_uses_no_random_numbers() -> None:
    # A SnapStart snapshot would give all instances the same numbers.
    assert {module for file in SOURCES for module in imported(file.read_text())}.isdisjoint(
        {"random", "secrets", "uuid"}
    )


def test_events_use_route_of_template() -> None:
    [api] = RECEIVER.defaults.of("ApiGatewayV2::Api").values()
    [path] = api["Body"]["paths"]

    assert {json.loads(file.read_text())["rawPath"] for file in (ROOT / "events").glob("*.json")} == {path}


def test_sam_local_sets_declared_variables() -> None:
    # `sam local` ignores variables that the template does not declare.
    settings = json.loads((ROOT / "sam-local.env.json").read_text())

    assert settings["ReceiverFunction"].keys() <= receiver_environment().keys()


def test_artifact_keeps_services_that_code_calls() -> None:
    assert set(artifact.SERVICES) == services_called()


def test_dashboard_shows_every_counted_metric() -> None:
    body = RECEIVER.defaults.value(RECEIVER.defaults.properties("Dashboard")["DashboardBody"], ARRIVAL_RULE)
    rows = [row for widget in json.loads(body)["widgets"] for row in widget["properties"].get("metrics", [])]

    assert {row[1] for row in rows if row[0] != "..."} >= metrics_counted()


def test_alarms_watch_counted_metrics() -> None:
    stack, name = RECEIVER.defaults, {"AWS::StackName": "name-of-stack"}
    alarms = stack.value(stack.of("CloudWatch::Alarm"), name | ARRIVAL_RULE)
    filtered = {
        transformation["MetricName"]
        for metric_filter in stack.of("Logs::MetricFilter").values()
        for transformation in metric_filter["MetricTransformations"]
    }
    watched = {
        metric["MetricName"]
        for alarm in alarms.values()
        for metric in [alarm, *(query.get("MetricStat", {}).get("Metric", {}) for query in alarm.get("Metrics", []))]
        if metric.get("Namespace") == receiver_environment(name)["POWERTOOLS_METRICS_NAMESPACE"]
    }

    assert watched > filtered
    assert watched <= metrics_counted() | filtered


@pytest.mark.parametrize(
    ("parameters", "notified"),
    [
        ({}, ["AWS::NoValue"]),
        ({"AlarmEmail": "me@example.com"}, ["AlarmTopic"]),
        ({"AlarmTopicArn": TOPIC}, [TOPIC]),
    ],
    ids=["nobody", "mail", "topic"],
)
def test_every_alarm_notifies(parameters: dict[str, str], notified: list[str]) -> None:
    stack = RECEIVER.untransformed(**parameters)
    alarms = stack.of("CloudWatch::Alarm")
    # CodeDeploy reads this one, and rolls back.
    del alarms["CanaryAlarm"]

    for name, alarm in alarms.items():
        assert stack.value(alarm["AlarmActions"]) == notified, name
        assert alarm["AlarmDescription"], name
    told = stack.value(stack.template["Outputs"]["AlarmsNotify"]["Value"])
    assert told.startswith({"AlarmTopic": "me@example.com", "AWS::NoValue": "nobody"}.get(notified[0], TOPIC))


def test_refusals_are_counted_by_webhook_id() -> None:
    """A refusal that is missing here raises no alarm. A copy of a delivery that is being published is no loss."""
    [rule] = RECEIVER.defaults.of("CloudWatch::InsightRule").values()
    body = json.loads(RECEIVER.defaults.value(rule["RuleBody"]))
    present, outcomes = body["Contribution"]["Filters"]

    assert body["LogGroupNames"] == ["ReceiverLog"]
    assert body["Contribution"]["Keys"] == ["$.webhook_id"]
    assert present == {"Match": "$.webhook_id", "IsPresent": True}
    assert outcomes["Match"] == "$.outcome"
    assert sorted(outcomes["In"]) == sorted({rejection.outcome for rejection in REJECTIONS.values()} - {"InProgress"})


@pytest.mark.parametrize("bus", ["", "team", "default"])
def test_alarm_and_dashboard_find_metrics_of_arrival_rule(bus: str) -> None:
    stack = RECEIVER.untransformed(EventBusName=bus)
    path = "NAME" if bus == "default" else f"{bus or 'EventBus'}/NAME"
    references = {"ArrivalRule.Arn": f"arn:aws:events:us-east-1:111122223333:rule/{path}"}
    expected = {"RuleName": "NAME"} | ({} if bus == "default" else {"EventBusName": bus or "EventBus"})

    queries = stack.value(stack.properties("ArrivalAlarm")["Metrics"], references)
    [matched] = [query["MetricStat"]["Metric"] for query in queries if query["Id"] == "matched"]
    assert {pair["Name"]: pair["Value"] for pair in matched["Dimensions"]} == expected
    widgets = json.loads(stack.value(stack.properties("Dashboard")["DashboardBody"], references))["widgets"]
    [row] = [row for widget in widgets for row in widget["properties"].get("metrics", []) if "MatchedEvents" in row]
    assert dict(itertools.batched(row[2:], 2, strict=True)) == expected


def test_template_has_version_of_core() -> None:
    # `openai-webhooks doctor` compares it with its own version.
    assert RECEIVER.defaults.template["Outputs"]["TemplateVersion"]["Value"] == version("openai-webhooks")


def test_every_skipped_check_has_reason() -> None:
    for name, resource in RECEIVER.defaults.resources.items():
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
            assert skip.keys() == {"id", "comment"}, name
            assert skip["comment"], name


def variables_read_in(files: Iterable[Path]) -> set[str]:
    return {name for file in files for name in re.findall(r'os\.environ\["(\w+)"\]', file.read_text())}


def imported(source: str) -> set[str]:
    """Return the top-level names of the modules that a source imports."""
    nodes = list(ast.walk(ast.parse(source)))
    modules = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    modules += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
    return {module.split(".")[0] for module in modules}


def metrics_counted() -> set[str]:
    """Return the names of all metrics that the receiver counts."""
    counts = re.compile(r'_?count\("(\w+)"\)')
    return (
        {rejection.outcome for rejection in REJECTIONS.values()}
        | set(get_args(Outcome))
        | {name for file in SOURCES for name in counts.findall(file.read_text())}
    )


def services_called() -> set[str]:
    """Return boto3's names of the services that the receiver makes clients for."""
    return {service for file in SOURCES for service in clients_made(file)}


def clients_made(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="client" | "resource") | ast.Name(id="client" | "resource"),
                args=[ast.Constant(value=str(service)), *_],
            ):
                yield service
