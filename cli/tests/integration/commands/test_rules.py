"""`openai-webhooks rules`."""

import json
from pathlib import Path
from typing import Final

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


def matches(receiver: DeployedReceiver, *arguments: str, status: int = 0) -> dict[str, list[str]]:
    """Return the functions whose rules match, by event type."""
    result = receiver.run("rules", "--json", *arguments)
    assert result.exit_code == status, result.output
    records = [json.loads(line) for line in result.stdout.splitlines()]
    return {r["event_type"]: sorted(map(function, r["rules"])) for r in records if r["type"] == "match"}


def function(rule: str) -> str:
    return rule.removeprefix("openai-webhooks-subscriber-").partition("FunctionRule")[0]


@pytest.fixture
def disabled_rule(receiver: DeployedReceiver) -> str:
    events, name = receiver.client("events"), "disabled"
    pattern = json.dumps({"detail-type": ["safety.alert.created"]})
    events.put_rule(Name=name, EventBusName=receiver.bus, EventPattern=pattern, State="DISABLED")
    return name


def test_every_known_type_is_listed_with_its_rules(receiver: DeployedReceiver) -> None:
    found = matches(receiver)

    assert found.keys() == CATALOG.keys()
    assert {
        event_type: names for event_type, names in found.items() if event_type.startswith(("batch.", "realtime."))
    } == {
        "batch.cancelled": ["OnBatch"],
        "batch.completed": ["OnBatch"],
        "batch.expired": ["OnBatch"],
        "batch.failed": ["OnBatch", "OnFailure"],
        "realtime.call.incoming": [],
    }
    assert found["safety.alert.created"] == []


def test_lines_fit_terminal_of_80_columns(receiver: DeployedReceiver) -> None:
    result = receiver.run("rules")

    assert max(map(len, result.stdout.splitlines())) <= 80
    assert all(event_type in result.stdout for event_type in CATALOG)


def test_types_of_endpoint_are_listed_too(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with EndpointsStandIn(event_types=["dream.failed"]) as openai:
        openai.register(receiver.receiver.outputs["WebhookUrl"])
        for name, value in openai.environment.items():
            monkeypatch.setenv(name, value)

        assert matches(receiver)["dream.failed"] == ["OnFailure"]


def test_disabled_rule_is_told_apart(receiver: DeployedReceiver, disabled_rule: str) -> None:
    result = receiver.run("rules", "--json")

    records = map(json.loads, result.stdout.splitlines())
    [record] = [record for record in records if record.get("event_type") == "safety.alert.created"]
    assert (record["rules"], record["disabled_rules"]) == ([], [disabled_rule])


def test_rule_that_matches_nothing_is_listed(receiver: DeployedReceiver) -> None:
    pattern = json.dumps({"source": ["openai.com"], "detail-type": ["batch.complete"]})
    receiver.client("events").put_rule(Name="typo", EventBusName=receiver.bus, EventPattern=pattern)

    records = map(json.loads, receiver.run("rules", "--json").stdout.splitlines())

    assert [record["rule"] for record in records if record["type"] == "unused"] == ["typo"]


def test_sessions_are_not_subscribers(receiver: DeployedReceiver) -> None:
    tap = Tap(receiver.stack, [{"source": ["openai.com"]}])
    tap.create()

    found = matches(receiver)

    tap.close()
    assert {name for names in found.values() for name in names} == {"OnBatch", "OnFailure"}


@pytest.mark.parametrize("form", ["of OpenAI", "of the bus", "of API Gateway"])
def test_event_is_read_in_each_form(receiver: DeployedReceiver, tmp_path: Path, form: str) -> None:
    file = ROOT / "events/batch.failed.json"
    if form != "of API Gateway":
        file = tmp_path / "event.json"
        file.write_text(json.dumps(EVENT if form == "of OpenAI" else envelope(receiver.stack, EVENT)))

    assert matches(receiver, f"--event={file}") == {"batch.failed": ["OnBatch", "OnFailure"]}


def test_event_of_bus_keeps_its_source(receiver: DeployedReceiver, tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps({"source": "elsewhere", "detail-type": "batch.failed", "detail": {}}))

    assert matches(receiver, f"--event={file}", status=1) == {"batch.failed": []}


def test_event_that_only_disabled_rule_matches_sets_exit_status(
    receiver: DeployedReceiver, disabled_rule: str, tmp_path: Path
) -> None:
    file = tmp_path / "event.json"
    file.write_text(json.dumps({**EVENT, "type": "safety.alert.created"}))

    assert receiver.run("rules", "--event", str(file)).exit_code == 1


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


def test_plain_lists_of_types_are_not_sent_to_eventbridge(
    receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = json.dumps({"source": ["openai.com"], "detail-type": ["response.completed"]})
    receiver.client("events").put_rule(Name="plain", EventBusName=receiver.bus, EventPattern=plain)
    faults = AwsFaults(monkeypatch)

    matches(receiver)

    # One rule has a plain type, and two have a filter for each type.
    assert faults.count("TestEventPattern") == 1 + 2 * len(CATALOG)
