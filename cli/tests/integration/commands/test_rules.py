"""`openai-webhooks rules`."""

import json
from pathlib import Path
from typing import Any, Final

import pytest

from cli.tests.support.aws_calls import AwsFaults
from cli.tests.support.deployed_receiver import DeployedReceiver
from cli.tests.support.openai_stand_in import EndpointsStandIn
from openai_webhooks import CATALOG
from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.rules import envelope
from openai_webhooks_cli.aws.tap import Tap
from tests.support.paths import ROOT

EVENT: Final = samples.sample("batch.failed", created_at=1_750_861_210)


def rules(receiver: DeployedReceiver, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    result = receiver.run("rules", "--json", *arguments)
    assert result.exit_code == status, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def matches(records: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the enabled rules that match, by event type. The subscriber's rules are named after their functions."""
    return {r["event_type"]: sorted(map(function, r["rules"])) for r in records if r["type"] == "match"}


def function(rule: str) -> str:
    return rule.removeprefix("openai-webhooks-subscriber-").partition("FunctionRule")[0]


def put_rule(receiver: DeployedReceiver, name: str, event_type: str, state: str = "ENABLED") -> None:
    pattern = json.dumps({"source": ["openai.com"], "detail-type": [event_type]})
    receiver.client("events").put_rule(Name=name, EventBusName=receiver.bus, EventPattern=pattern, State=state)


def test_every_known_type_is_listed_with_rules_of_subscribers(receiver: DeployedReceiver, faults: AwsFaults) -> None:
    put_rule(receiver, "disabled", "safety.alert.created", state="DISABLED")
    put_rule(receiver, "typo", "batch.complete")
    tap = Tap(receiver.stack, [{"source": ["openai.com"]}])
    tap.create()

    records = rules(receiver)

    tap.close()
    found = matches(records)
    assert found.keys() == CATALOG.keys()
    assert {name: found[name] for name in found if name.startswith(("batch.", "realtime.", "safety.alert."))} == {
        "batch.cancelled": ["OnBatch"],
        "batch.completed": ["OnBatch"],
        "batch.expired": ["OnBatch"],
        "batch.failed": ["OnBatch", "OnFailure"],
        "realtime.call.incoming": [],
        "safety.alert.created": [],
    }
    disabled = {r["event_type"]: r["disabled_rules"] for r in records if r.get("disabled_rules")}
    assert disabled == {"safety.alert.created": ["disabled"]}
    assert [record["rule"] for record in records if record["type"] == "unused"] == ["typo"]
    # EventBridge is not asked whether a plain type is another type. Two rules have a filter for each type.
    assert faults.count("TestEventPattern") == 1 + 2 * len(CATALOG)


def test_lines_fit_terminal_of_80_columns(receiver: DeployedReceiver) -> None:
    result = receiver.run("rules")

    assert max(map(len, result.stdout.splitlines())) <= 80
    assert all(event_type in result.stdout for event_type in CATALOG)


def test_types_of_endpoint_are_listed_too(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with EndpointsStandIn(event_types=["dream.failed"]) as openai:
        openai.register(receiver.receiver.outputs["WebhookUrl"])
        for name, value in openai.environment.items():
            monkeypatch.setenv(name, value)

        assert matches(rules(receiver))["dream.failed"] == ["OnFailure"]


# ---- --event ----


@pytest.mark.parametrize("form", ["of OpenAI", "of the bus", "of API Gateway"])
def test_event_is_read_in_each_form(receiver: DeployedReceiver, tmp_path: Path, form: str) -> None:
    file = ROOT / "events/batch.failed.json"
    if form != "of API Gateway":
        file = tmp_path / "event.json"
        file.write_text(json.dumps(EVENT if form == "of OpenAI" else envelope(receiver.stack, EVENT)))

    assert matches(rules(receiver, f"--event={file}")) == {"batch.failed": ["OnBatch", "OnFailure"]}


@pytest.mark.parametrize(
    "event",
    [
        pytest.param({"source": "elsewhere", "detail-type": "batch.failed", "detail": {}}, id="source"),
        pytest.param({**EVENT, "type": "safety.alert.created"}, id="only a disabled rule"),
    ],
)
def test_event_without_enabled_rule_fails(receiver: DeployedReceiver, tmp_path: Path, event: dict[str, Any]) -> None:
    put_rule(receiver, "disabled", "safety.alert.created", state="DISABLED")
    file = tmp_path / "event.json"
    file.write_text(json.dumps(event))

    [names] = matches(rules(receiver, f"--event={file}", status=1)).values()

    assert names == []


def test_rules_that_do_not_match_have_reason(receiver: DeployedReceiver) -> None:
    records = rules(receiver, f"--event={ROOT / 'events/batch.completed.json'}")

    [other] = [record for record in records if record["type"] == "mismatch"]
    assert function(other["rule"]) == "OnFailure"
    assert other["reason"].startswith("detail-type is batch.completed, the rule wants ")


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", "no JSON", '{"type": 1}', '{"detail": {}, "type": "a"}', '{"isBase64Encoded": true, "body": "?"}'],
)
def test_file_without_event_is_refused(receiver: DeployedReceiver, tmp_path: Path, content: str) -> None:
    file = tmp_path / "event.json"
    file.write_text(content)

    result = receiver.run("rules", "--event", str(file))

    assert result.exit_code == 2
    assert file.name in result.stderr
