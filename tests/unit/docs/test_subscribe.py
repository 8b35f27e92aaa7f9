"""The patterns in docs/guide/subscribe.md match the events that it names, and its resources are valid."""

import json
import re
from typing import Any, Final

import pytest
import yaml
from cfnlint.api import lint  # type: ignore[import-untyped]  # it has no type hints
from moto.events.models import EventPattern
from samtranslator.yaml_helper import yaml_parse

from openai_webhooks import CATALOG
from tests.support.paths import ROOT
from tests.support.templates import RECEIVER

GUIDE: Final = (ROOT / "docs/guide/subscribe.md").read_text()
PATTERNS: Final = re.findall(r"^\| .+ \| `(\{ source: .+ \})` \|$", GUIDE, re.MULTILINE)
SOURCE: Final = RECEIVER.defaults.parameters["EventSource"]["Default"]
RESOURCE: Final = "resp_123"

MATCHED: Final = [
    {"response.completed"},
    {"response.completed", "response.incomplete"},
    {event_type for event_type in CATALOG if event_type.startswith("batch.")},
    {event_type for event_type in CATALOG if event_type.endswith(".failed")},
    {event_type for event_type in CATALOG if not event_type.startswith("safety")},
    set(CATALOG),
    {"agent.session.action_required"},
    {"safety.warning_issued"},
    {"agent.session.created", "agent.session.failed", "agent.session.idle", "agent.session.in_progress"},
]
"""The event types that each pattern matches, in the order of the guide's table."""


def event(event_type: str, *, source: str = SOURCE, resource: str = RESOURCE) -> Any:
    detail = json.loads(json.loads((ROOT / f"events/{event_type}.json").read_text())["body"])
    detail["data"] |= {"id": resource}
    if "required_action" in detail["data"]:
        detail["data"]["required_action"]["type"] = "function_call"
    # OpenAI sends this type only to endpoints of the organization.
    resources = ["openai:endpoint/organization"] if event_type == "safety.warning_issued" else []
    return {"source": source, "detail-type": event_type, "resources": resources, "detail": detail}


@pytest.mark.parametrize(("pattern", "matched"), list(zip(PATTERNS, MATCHED, strict=True)), ids=PATTERNS)
def test_pattern_matches_only_named_types(pattern: str, matched: set[str]) -> None:
    loaded = EventPattern.load(json.dumps(yaml.safe_load(pattern)))

    assert {event_type for event_type in CATALOG if loaded.matches_event(event(event_type))} == matched
    assert not any(loaded.matches_event(event(event_type, source="example.com")) for event_type in CATALOG)


def test_pattern_of_resource_matches_only_that_resource() -> None:
    [pattern] = [pattern for pattern in PATTERNS if RESOURCE in pattern]
    loaded = EventPattern.load(json.dumps(yaml.safe_load(pattern)))

    assert not loaded.matches_event(event("response.completed", resource=f"{RESOURCE}4"))


def test_resources_for_other_targets_lint() -> None:
    template = "Transform: AWS::Serverless-2016-10-31\nResources:\n" + "".join(
        re.sub("^(?=.)", "  ", block, flags=re.MULTILINE) for block in other_targets()
    )
    workflow = "  Workflow: {Type: 'AWS::Serverless::StateMachine', Properties: {Definition: {}, Role: role}}\n"

    assert [match for match in lint(template + workflow) if match.rule.severity == "error"] == []


def test_other_targets_use_bus_and_dead_letter_queue() -> None:
    resources = yaml_parse("".join(other_targets()))
    rules = {name: resource for name, resource in resources.items() if resource["Type"] == "AWS::Events::Rule"}
    [senders] = [
        statement["Condition"]["ArnEquals"]["aws:SourceArn"]
        for statement in resources["DeadLettersPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    ]

    assert len(rules) == 3
    assert [sender["Fn::GetAtt"] for sender in senders] == [[rule, "Arn"] for rule in rules]
    for rule in rules.values():
        [target] = rule["Properties"]["Targets"]
        assert rule["Properties"]["EventBusName"] == {"Fn::ImportValue": "openai-webhooks-EventBusName"}
        assert rule["Properties"]["EventPattern"]["source"] == [SOURCE]
        assert target["DeadLetterConfig"] == {"Arn": {"Fn::GetAtt": ["DeadLetters", "Arn"]}}


def other_targets() -> list[str]:
    """Return the YAML blocks with the resources of targets other than functions."""
    section = GUIDE.split("\n## Other targets\n")[1].split("\n## ")[0]
    return re.findall(r"^```yaml\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
