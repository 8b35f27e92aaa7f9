"""The template and the code agree."""

import ast
import json
import re
from pathlib import Path

from openai_webhooks import NotAccepted
from webhooks import gateway, stacks

ROOT = Path(__file__).resolve().parents[3]
POWERTOOLS = {"POWERTOOLS_SERVICE_NAME", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_LOG_LEVEL"}
BOTOCORE = {"AWS_ENDPOINT_URL"}


def test_function_is_given_the_variables_that_its_code_reads() -> None:
    plan = stacks.plan(ROOT / "template.yaml")
    read = {
        variable
        for file in (ROOT / "src").rglob("*.py")
        for variable in re.findall(r'os\.environ\["(\w+)"\]', file.read_text())
    }

    assert plan.functions["ReceiverFunction"]["Environment"]["Variables"].keys() == read | POWERTOOLS | BOTOCORE


def test_subscribers_are_given_the_variables_that_their_code_reads() -> None:
    plan = stacks.plan(ROOT / "examples/subscriber/template.yaml")
    read = {
        variable
        for file in (ROOT / "examples/subscriber/functions").glob("*.py")
        for variable in re.findall(r'os\.environ\["(\w+)"\]', file.read_text())
    }

    # Subscribers count nothing, so there is no namespace.
    expected = read | (POWERTOOLS - {"POWERTOOLS_METRICS_NAMESPACE"}) | BOTOCORE
    assert len(plan.functions) == 4
    assert all(function["Environment"]["Variables"].keys() == expected for function in plan.functions.values())


def test_only_the_handler_reads_clock_and_environment() -> None:
    readers = {
        file.relative_to(ROOT / "src").as_posix()
        for file in (ROOT / "src").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Import) and {alias.name for alias in node.names} & {"os", "time"}
    }

    assert readers == {"receiver/app.py"}


def test_route_is_the_one_in_events() -> None:
    assert stacks.plan(ROOT / "template.yaml").routes == [("POST", gateway.PATH)]


def test_dashboard_shows_each_metric_that_the_code_counts() -> None:
    dashboard = stacks.translate(ROOT / "template.yaml")["Resources"]["Dashboard"]
    body, _ = dashboard["Properties"]["DashboardBody"]["Fn::Sub"]
    metrics = [metric for widget in json.loads(body)["widgets"] for metric in widget["properties"].get("metrics", [])]
    shown = {metric[1] for metric in metrics if metric[0] != "..."}
    counted = {error.__name__ for error in NotAccepted.__subclasses__()} | {
        name
        for file in (ROOT / "src/receiver").glob("*.py")
        for name in re.findall(r'count\("(\w+)"\)', file.read_text())
    }

    assert shown >= counted | {"Published", "Duplicate"}


def test_every_check_that_is_skipped_says_why() -> None:
    for path in ("template.yaml", "examples/subscriber/template.yaml"):
        for resource in stacks.translate(ROOT / path)["Resources"].values():
            for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
                assert skip.keys() == {"id", "comment"}
                assert skip["comment"].endswith(".")
