"""What targets get of an event, by the examples of AWS's guide."""

import json
from typing import Any, Final

import pytest

from openai_webhooks_cli.local.input_transformer import InvalidInput, target_input

EVENT: Final[dict[str, Any]] = {
    "id": "1",
    "detail-type": "batch.failed",
    "resources": [],
    "detail": {"instance-id": "i-0", "state": "RUNNING", "n": 5, "list": [{"a": 1}, {"a": 2}, "x"], "o": {"k": "v"}},
}
PATHS: Final = {
    "instance": "$.detail.instance-id",
    "state": "$.detail.state",
    "n": "$.detail.n",
    "object": "$.detail.o",
    "absent": "$.detail.absent",
}


def made(target: dict[str, Any]) -> str:
    return target_input(target, EVENT, rule_name="mine", rule_arn="arn:mine", ingestion_time="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("$", EVENT),
        ("$.detail-type", "batch.failed"),
        ("$.detail.list[1].a", 2),
        ("$.detail.list[*].a", [1, 2]),
        ("$.detail.o.*", ["v"]),
    ],
)
def test_path_selects_part(path: str, value: object) -> None:
    assert json.loads(made({"InputPath": path})) == value


def test_input_is_constant_and_default_is_event() -> None:
    assert made({"Input": '{"a": 1}'}) == '{"a": 1}'
    assert json.loads(made({})) == EVENT


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ('"<instance> is in <state>"', '"i-0 is in RUNNING"'),
        ('{"i": <instance>, "n": <n>, "o": <object>}', '{"i": "i-0", "n": 5, "o": {"k":"v"}}'),
        ('{"t": "<instance> is \\"<state>\\", <n>"}', '{"t": "i-0 is \\"RUNNING\\", 5"}'),
        ('"Detail is <object>"', '"Detail is {k:v}"'),
        ('"<absent>, <no variable>"', '", <no variable>"'),
        ('[<aws.events.rule-name>, "<aws.events.rule-arn>"]', '["mine", "arn:mine"]'),
        ("<aws.events.event.ingestion-time>", '"2026-01-01T00:00:00Z"'),
        ("<aws.events.event>", '{"id":"1","detail-type":"batch.failed","resources":[]}'),
    ],
)
def test_template_is_filled(template: str, filled: str) -> None:
    assert made({"InputTransformer": {"InputPathsMap": PATHS, "InputTemplate": template}}) == filled


def test_whole_event_is_variable() -> None:
    text = made({"InputTransformer": {"InputTemplate": '{"event": <aws.events.event.json>}'}})

    assert json.loads(text) == {"event": EVENT}


@pytest.mark.parametrize("path", ["$.detail.absent", "$.detail.list[9]", "$['detail']", "detail"])
def test_wrong_path_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput):
        made({"InputPath": path})
