"""The template and the code agree."""

import ast
import json
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, get_args
from urllib.parse import urlsplit

import pytest

from openai_webhooks_cli import apigw_event, artifact, dev_defaults
from openai_webhooks_cli.local import sam_template
from receiver.receiver import Outcome
from receiver.rejections import REJECTIONS
from tests.support.paths import ROOT
from tests.support.templates import EXAMPLES, RECEIVER, SUBSCRIBER, Source, receiver_environment

SOURCES: Final = sorted((ROOT / "src").rglob("*.py"))
POWERTOOLS: Final = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE"}
BOTOCORE: Final = {"AWS_ENDPOINT_URL"}
OPENAI: Final = {"OPENAI_BASE_URL"}
LOGGING_AND_TRACING: Final = {"logs", "xray"}
"""Services that Lambda itself calls with the function's role."""


def test_template_sets_variables_that_receiver_reads() -> None:
    assert receiver_environment().keys() == variables_read_in(SOURCES) | POWERTOOLS | BOTOCORE


@pytest.mark.parametrize("example", EXAMPLES)
def test_template_sets_variables_that_functions_read(example: str) -> None:
    functions = list((ROOT / "examples" / example / "functions").glob("*.py"))
    shared = {
        name for file in functions for name in re.findall(r"from (openai_webhooks_subscriber\.\w+)", file.read_text())
    }
    files = [*functions, *(ROOT / "examples/shared" / f"{name.replace('.', '/')}.py" for name in shared)]
    declared = {
        variable
        for function in EXAMPLES[example].defaults.of("Lambda::Function").values()
        for variable in function["Environment"]["Variables"]
    }

    expected = variables_read_in(files) | {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_LOG_LEVEL"}
    assert declared - BOTOCORE - OPENAI == expected
    assert (declared >= OPENAI) == ("openai_webhooks_subscriber.openai_api" in shared)


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
    assert sam_template.plan(RECEIVER.path).routes == [("POST", apigw_event.PATH)]


@pytest.mark.parametrize("source", [RECEIVER, SUBSCRIBER], ids=["receiver", "subscriber"])
def test_sam_local_uses_declared_variables_and_port_of_dev(source: Source) -> None:
    settings = json.loads((source.path.parent / "sam-local.env.json").read_text())
    declared = {
        variable
        for function in source.defaults.of("Lambda::Function").values()
        for variable in function["Environment"]["Variables"]
    }

    # `sam local` ignores variables that the template does not declare.
    for variables in settings.values():
        assert variables.keys() <= declared
        assert urlsplit(variables["AWS_ENDPOINT_URL"]).port == dev_defaults.AWS_PORT


def test_artifact_keeps_services_that_code_calls() -> None:
    assert set(artifact.SERVICES) == services_called()


def test_role_allows_services_that_code_calls() -> None:
    stack = RECEIVER.at(Tracing="true")
    [policy] = stack.properties("ReceiverRole")["Policies"]
    statements = stack.value(policy["PolicyDocument"]["Statement"])
    actions = [action for statement in statements for action in as_list(statement["Action"])]

    # boto3's names of these services are the prefixes of their actions.
    assert {action.split(":")[0] for action in actions} - LOGGING_AND_TRACING == services_called()


def test_dashboard_shows_every_counted_metric() -> None:
    body, _ = RECEIVER.defaults.properties("Dashboard")["DashboardBody"]["Fn::Sub"]
    rows = [row for widget in json.loads(body)["widgets"] for row in widget["properties"].get("metrics", [])]

    assert {row[1] for row in rows if row[0] != "..."} >= metrics_counted()


def test_alarms_watch_counted_metrics() -> None:
    stack = RECEIVER.defaults
    alarms = stack.value(stack.of("CloudWatch::Alarm"))
    watched = {
        metric["MetricName"]
        for alarm in alarms.values()
        for metric in [alarm, *(query.get("MetricStat", {}).get("Metric", {}) for query in alarm.get("Metrics", []))]
        if metric.get("Namespace") == receiver_environment()["POWERTOOLS_METRICS_NAMESPACE"]
    }

    assert watched
    assert watched <= metrics_counted()


def test_every_alarm_notifies_topic_if_set() -> None:
    notify = {"Fn::If": ["NotifyTopic", [{"Ref": "AlarmTopicArn"}], {"Ref": "AWS::NoValue"}]}

    for name, alarm in RECEIVER.defaults.of("CloudWatch::Alarm").items():
        assert alarm["AlarmActions"] == notify, name
        assert alarm["AlarmDescription"], name
        assert alarm["TreatMissingData"] == "notBreaching", name


def test_template_has_version_of_command() -> None:
    # `openai-webhooks doctor` compares them.
    assert RECEIVER.defaults.template["Outputs"]["TemplateVersion"]["Value"] == version("openai-webhooks-cli")


def test_every_skipped_check_has_reason() -> None:
    for source in (RECEIVER, *EXAMPLES.values()):
        for name, resource in source.defaults.resources.items():
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


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
