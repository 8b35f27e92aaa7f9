"""`openai-webhooks doctor`: green on a healthy stack, and each planted fault found by its code."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final, get_args
from uuid import uuid4

import pytest
from moto.cloudwatch.models import cloudwatch_backends
from moto.events.models import events_backends
from typer.testing import Result

from cli.tests.support.aws_calls import AwsFaults
from cli.tests.support.deployed_receiver import DeployedReceiver
from cli.tests.support.openai_stand_in import OpenAIStandIn
from openai_webhooks import CATALOG
from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.activity import OUTCOMES, PERIOD
from openai_webhooks_cli.aws.rules import arrival_rule
from openai_webhooks_cli.aws.stack import Resource, Stack
from openai_webhooks_cli.aws.tap import LEASE, Tap
from openai_webhooks_cli.commands import doctor
from openai_webhooks_cli.commands.doctor_checks import CHECKS, Finding, Visit
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION
from receiver.receiver import Outcome
from receiver.rejections import REJECTIONS

HANDLED: Final = [
    event_type
    for event_type in CATALOG
    if event_type.startswith("batch.")
    or event_type.endswith(".failed")
    or event_type in ("response.completed", "realtime.call.incoming")
]
"""The types that the example subscriber's rules match."""
TOPIC: Final = "arn:aws:sns:us-east-1:123456789012:alarms"
PLACEHOLDER: Final = "Placeholder until the signing secret is stored."
HOUR: Final = 3600  # seconds
BATCH: Final = {"source": ["openai.com"], "detail-type": ["batch.completed"]}


def codes(result: Result) -> dict[str, set[str]]:
    """Return the codes of the findings by check."""
    *findings, verdict = map(json.loads, result.stdout.splitlines())
    assert verdict["type"] == "verdict"
    assert verdict["ok"] == (result.exit_code == 0)
    found: dict[str, set[str]] = {}
    for finding in findings:
        if finding["type"] == "finding":
            found.setdefault(finding["check"], set()).add(finding["code"])
    return found


class Scene:
    """A stack with everything that a real one has, its endpoint at OpenAI, and faults to plant in both.

    It has a name, a log, alarms and an archive of its own. `undo` runs after the test.
    """

    def __init__(self, receiver: DeployedReceiver, openai: OpenAIStandIn, undo: ExitStack) -> None:
        self.receiver = receiver
        self.openai = openai
        self.undo = undo
        self.name = f"test-{uuid4().hex[:8]}"
        self.stack = self._stack(receiver.stack)
        self.url = self.stack.outputs["WebhookUrl"]
        self.endpoint_id = openai.register(self.url, name=self.name, event_types=HANDLED)
        self.store(openai.secrets[self.endpoint_id][0])

    def findings(self) -> list[tuple[str, Finding]]:
        return doctor.examine(Visit(self.stack))

    def codes(self) -> set[str]:
        """Return the codes of all findings that are not well."""
        return {finding.code for _, finding in self.findings()} - {""}

    def client(self, service: str) -> Any:
        return self.receiver.client(service)

    def store(self, text: str) -> None:
        self.client("secretsmanager").put_secret_value(SecretId=self.receiver.secret_arn, SecretString=text)

    def count(self, metric: str, *, rule: str = "", seconds_ago: float = HOUR, value: int = 1) -> None:
        """Add to a metric of the receiver, or of a rule."""
        dimensions = {"EventBusName": self.stack.bus, "RuleName": rule} if rule else {"service": "receiver"}
        data = {
            "MetricName": metric,
            "Dimensions": [{"Name": dimension, "Value": text} for dimension, text in dimensions.items()],
            "Timestamp": datetime.fromtimestamp(time.time() - seconds_ago, UTC),
            "Value": value,
        }
        namespace = "AWS/Events" if rule else self.name
        self.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[data])

    def log(self, *, seconds_ago: float = HOUR, **fields: Any) -> None:
        """Write a line to the receiver's log, in a stream of its own."""
        logs, stream = self.client("logs"), uuid4().hex
        logs.create_log_stream(logGroupName=self.name, logStreamName=stream)
        line = {"timestamp": int((time.time() - seconds_ago) * 1000), "message": json.dumps(fields)}
        logs.put_log_events(logGroupName=self.name, logStreamName=stream, logEvents=[line])

    def deliver(self, outcome: str, *, seconds_ago: float = HOUR, event_type: str = "batch.completed") -> None:
        """Write what the receiver writes about a delivery."""
        self.count(outcome, seconds_ago=seconds_ago)
        self.log(_aws={}, outcome=outcome, event_type=event_type, reason=f"of {outcome}", seconds_ago=seconds_ago)

    def add_rule(self, pattern: dict[str, Any], *, target: str = "", **settings: Any) -> str:
        """Add a rule, whose target is a queue without a dead-letter queue."""
        events, name = self.client("events"), f"rule-{uuid4().hex[:8]}"
        events.put_rule(Name=name, EventBusName=self.stack.bus, EventPattern=json.dumps(pattern), **settings)
        self.undo.callback(events.delete_rule, Name=name, EventBusName=self.stack.bus)
        if target:
            events.put_targets(Rule=name, EventBusName=self.stack.bus, Targets=[{"Id": "t", "Arn": target}])
            self.undo.callback(events.remove_targets, Rule=name, EventBusName=self.stack.bus, Ids=["t"])
        return name

    def disable_arrival_rule(self) -> None:
        rule = {"Name": arrival_rule(self.stack), "EventBusName": self.stack.bus}
        self.client("events").disable_rule(**rule)
        self.undo.callback(self.client("events").enable_rule, **rule)

    def put_dead_letter(self) -> None:
        sqs = self.client("sqs")
        url = sqs.get_queue_url(QueueName="OnBatchDeadLetters")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="{}")
        self.undo.callback(sqs.purge_queue, QueueUrl=url)

    def rule(self, part: str) -> str:
        """Return the name of the rule whose name has this part."""
        rules = self.client("events").list_rules(EventBusName=self.stack.bus)["Rules"]
        return next(str(rule["Name"]) for rule in rules if part in rule["Name"])

    def change_endpoint(self, **fields: Any) -> None:
        self.openai.endpoints[self.endpoint_id].update(fields)

    def leave_session(self, *, lease: int = -60) -> None:
        """Create the rule and the queue of a session whose lease ends in `lease` seconds."""
        real_skew = self.stack.clock_skew
        self.stack.clock_skew += lease - LEASE
        tap = Tap(self.stack, [BATCH])
        tap.create()
        self.stack.clock_skew = real_skew
        self.undo.callback(tap.close)

    def alarm(self, logical_id: str, **settings: Any) -> None:
        self.client("cloudwatch").put_metric_alarm(
            **{
                "AlarmName": f"{self.name}-{logical_id}",
                "AlarmActions": [TOPIC],
                "Namespace": self.name,
                "MetricName": "Published",
                "Statistic": "Sum",
                "Period": 60,
                "EvaluationPeriods": 1,
                "Threshold": 0,
                "ComparisonOperator": "GreaterThanThreshold",
                **settings,
            }
        )
        self.set_state(logical_id, "OK")

    def set_state(self, logical_id: str, state: str) -> None:
        name = f"{self.name}-{logical_id}"
        self.client("cloudwatch").set_alarm_state(AlarmName=name, StateValue=state, StateReason="planted")

    def _stack(self, deployed: Stack) -> Stack:
        for alarm in ("ErrorAlarm", "RefusalAlarm"):
            self.alarm(alarm)
        self.client("logs").create_log_group(logGroupName=self.name)
        events = self.client("events")
        events.create_archive(ArchiveName=self.name, EventSourceArn=deployed.bus_arn, RetentionDays=14)
        self.undo.callback(events.delete_archive, ArchiveName=self.name)
        resources = {
            **deployed.resources,
            "ReceiverLog": Resource("AWS::Logs::LogGroup", self.name),
            "EventArchive": Resource("AWS::Events::Archive", self.name),
            **{
                alarm: Resource("AWS::CloudWatch::Alarm", f"{self.name}-{alarm}")
                for alarm in ("ErrorAlarm", "RefusalAlarm")
            },
        }
        description = {
            "StackName": self.name,
            "StackStatus": "UPDATE_COMPLETE",
            "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in deployed.outputs.items()],
            "Parameters": [{"ParameterKey": "Alarms", "ParameterValue": "enabled"}],
            "ResponseMetadata": {"HTTPHeaders": {"date": format_datetime(datetime.now(UTC), usegmt=True)}},
        }
        return Stack(deployed.session, description, resources)


@pytest.fixture
def scene(receiver: DeployedReceiver, openai: OpenAIStandIn) -> Iterator[Scene]:
    with ExitStack() as undo:
        undo.callback(cloudwatch_backends[ACCOUNT][REGION].metric_data.clear)
        yield Scene(receiver, openai, undo)


def rollback(scene: Scene) -> None:
    scene.stack.status = "UPDATE_ROLLBACK_COMPLETE"


def deploy_old_template(scene: Scene) -> None:
    scene.stack.outputs["TemplateVersion"] = "0.0.1"


def skew_clock(scene: Scene) -> None:
    scene.stack.clock_skew = -45


def store_malformed_value_too(scene: Scene) -> None:
    scene.store(f"{scene.openai.secrets[scene.endpoint_id][0]} whsec_short")


def change_endpoint_later(scene: Scene) -> None:
    scene.change_endpoint(signing_secret_hint=None, updated_at=int(time.time()) + 60)


def move_endpoint(scene: Scene) -> None:
    scene.change_endpoint(url="https://old.example.com/webhooks/openai", name="another")


def rename_and_move_endpoint(scene: Scene) -> None:
    scene.change_endpoint(url="https://old.example.com/hooks", name="another")


def move_endpoint_with_name(scene: Scene) -> None:
    scene.change_endpoint(url="https://old.example.com/hooks")


def register_twice(scene: Scene) -> None:
    scene.openai.register(scene.url, event_types=HANDLED)


def register_unhandled_type(scene: Scene) -> None:
    scene.change_endpoint(event_types=[*HANDLED, "video.completed"])


def register_unknown_type(scene: Scene) -> None:
    scene.change_endpoint(event_types=[*HANDLED, "dream.completed"])


def register_too_few_types(scene: Scene) -> None:
    scene.change_endpoint(event_types=HANDLED[1:])


def add_disabled_rule(scene: Scene) -> None:
    scene.add_rule({"source": ["openai.com"]}, State="DISABLED")


def add_useless_rule(scene: Scene) -> None:
    scene.add_rule({"source": ["openai.com"], "detail-type": ["batch.complete"]})


def add_rule_without_dead_letters(scene: Scene) -> None:
    scene.add_rule(BATCH, target=f"arn:aws:sqs:{REGION}:{ACCOUNT}:OnBatchFunctionInbox")


def fail_invocations(scene: Scene) -> None:
    scene.count("FailedInvocations", rule=scene.rule("OnBatch"))


def lose_events(scene: Scene) -> None:
    scene.count("Published")


def lose_events_after_arrivals(scene: Scene) -> None:
    scene.count("Published", seconds_ago=5 * HOUR)
    scene.count("MatchedEvents", rule=scene.rule("ArrivalRule"), seconds_ago=5 * HOUR)
    scene.count("Published")


def fail_to_publish(scene: Scene) -> None:
    scene.deliver("PublishFailed")


def fail_to_publish_in_same_minute(scene: Scene) -> None:
    scene.deliver("Published", seconds_ago=60)
    scene.count("MatchedEvents", rule=scene.rule("ArrivalRule"), seconds_ago=60)
    scene.deliver("PublishFailed", seconds_ago=59)


def fail_to_publish_earlier(scene: Scene) -> None:
    scene.deliver("PublishFailed", seconds_ago=60)
    scene.deliver("Published", seconds_ago=5)


def fail_table(scene: Scene) -> None:
    scene.count("DeduplicationUnavailable")


def drift(scene: Scene) -> None:
    scene.count("SchemaDrift")
    scene.log(_aws={}, outcome="Published", drift="data.id: missing")


def log_error(scene: Scene) -> None:
    scene.log(level="ERROR", message="planted", reason="planted")


def delete_alarm(scene: Scene) -> None:
    scene.client("cloudwatch").delete_alarms(AlarmNames=[f"{scene.name}-RefusalAlarm"])


def disable_archive(scene: Scene) -> None:
    archives = events_backends[ACCOUNT][REGION].archives
    archives[scene.name].state = "DISABLED"


def turn_archive_off(scene: Scene) -> None:
    del scene.stack.resources["EventArchive"]
    scene.stack.parameters["ArchiveRetentionDays"] = "0"


FAULTS: Final[dict[str, tuple[Callable[[Scene], Any], set[str]]]] = {
    "stack rolled back": (rollback, {"E_STACK"}),
    "old template": (deploy_old_template, {"W_VERSION"}),
    "wrong clock": (skew_clock, {"W_CLOCK"}),
    "placeholder": (lambda scene: scene.store(PLACEHOLDER), {"E_SECRET_PLACEHOLDER"}),
    "malformed secret": (lambda scene: scene.store("whsec_short"), {"E_SECRET_MALFORMED"}),
    "malformed value among valid ones": (store_malformed_value_too, {"W_SECRET_MALFORMED"}),
    "another secret": (lambda scene: scene.store(samples.new_secret()), {"E_SECRET_MISMATCH"}),
    "endpoint changed after secret": (change_endpoint_later, {"W_SECRET_OLD"}),
    "endpoint of path elsewhere": (move_endpoint, {"E_URL", "SKIPPED"}),
    "endpoint of name elsewhere": (move_endpoint_with_name, {"E_URL", "SKIPPED"}),
    "no endpoint": (rename_and_move_endpoint, {"E_ENDPOINT", "SKIPPED"}),
    "two endpoints": (register_twice, {"E_ENDPOINT_TWICE"}),
    "unhandled type": (register_unhandled_type, {"W_UNHANDLED"}),
    "unhandled type outside catalog": (register_unknown_type, {"W_UNHANDLED"}),
    "handled type not registered": (register_too_few_types, {"W_UNREGISTERED"}),
    "rule disabled": (add_disabled_rule, {"W_RULE_DISABLED"}),
    "rule for nothing": (add_useless_rule, {"W_RULE_NOTHING"}),
    "target without dead-letter queue": (add_rule_without_dead_letters, {"W_NO_DEAD_LETTERS"}),
    "failed invocations": (fail_invocations, {"W_FAILED_INVOCATIONS"}),
    "dead letter": (Scene.put_dead_letter, {"W_DEAD_LETTERS"}),
    "bus refuses": (fail_to_publish, {"E_REFUSED"}),
    "bus refuses since a minute": (fail_to_publish_in_same_minute, {"E_REFUSED"}),
    "bus refused earlier": (fail_to_publish_earlier, {"W_REFUSED"}),
    "forgery": (lambda scene: scene.deliver("Unverified"), {"W_REFUSED"}),
    "drift": (drift, {"W_SCHEMA_DRIFT"}),
    "table fails": (fail_table, {"W_DEDUPLICATION"}),
    "nothing arrives": (lose_events, {"E_NOT_ARRIVED"}),
    "nothing arrives any more": (lose_events_after_arrivals, {"E_NOT_ARRIVED"}),
    "arrival rule disabled": (Scene.disable_arrival_rule, {"W_RULE_DISABLED"}),
    "error in log": (log_error, {"W_ERRORS"}),
    "alarm fires": (lambda scene: scene.set_state("ErrorAlarm", "ALARM"), {"W_ALARM"}),
    "alarm deleted": (delete_alarm, {"W_ALARM", "W_ALARM_ACTION"}),
    "alarm without action": (lambda scene: scene.alarm("ErrorAlarm", AlarmActions=[]), {"W_ALARM_ACTION"}),
    "alarm with disabled action": (lambda scene: scene.alarm("ErrorAlarm", ActionsEnabled=False), {"W_ALARM_ACTION"}),
    "archive disabled": (disable_archive, {"W_ARCHIVE"}),
    "no archive": (turn_archive_off, {"W_ARCHIVE"}),
    "leftovers": (Scene.leave_session, {"W_LEFTOVERS"}),
}


def test_healthy_stack_passes_every_check(scene: Scene) -> None:
    scene.deliver("Published", seconds_ago=2000)
    scene.count("MatchedEvents", rule=scene.rule("ArrivalRule"), seconds_ago=2000)

    findings = scene.findings()

    assert [name for name, _ in findings] == list(CHECKS)
    assert [finding.code for _, finding in findings] == [""] * len(CHECKS), findings


@pytest.mark.parametrize(("plant", "expected"), FAULTS.values(), ids=FAULTS)
def test_planted_fault_is_found(scene: Scene, plant: Callable[[Scene], Any], expected: set[str]) -> None:
    plant(scene)

    findings = [finding for _, finding in scene.findings() if finding.code]

    assert {finding.code for finding in findings} == expected, findings
    for finding in findings:
        assert bool(finding.fix) == (finding.code != "SKIPPED"), finding


def test_newest_reason_is_named(scene: Scene) -> None:
    scene.deliver("Malformed", seconds_ago=HOUR)

    [finding] = [finding for _, finding in scene.findings() if finding.code]

    assert "of Malformed" in finding.text


def test_control_characters_of_log_are_removed(scene: Scene) -> None:
    scene.log(level="ERROR", message="\x1b[2J", reason="\u202e")

    [finding] = [finding for _, finding in scene.findings() if finding.code == "W_ERRORS"]

    assert finding.text.isprintable()


def test_endpoint_of_another_stack_is_no_problem(scene: Scene) -> None:
    scene.openai.register("https://staging.example.com/webhooks/openai", name="staging")

    assert scene.codes() == set()


def test_recent_event_may_arrive_later(scene: Scene) -> None:
    scene.deliver("Published", seconds_ago=PERIOD)

    assert scene.codes() == set()


def test_running_session_is_no_leftover(scene: Scene) -> None:
    scene.leave_session(lease=60)

    assert scene.codes() == set()


def test_failure_sets_exit_status(scene: Scene) -> None:
    scene.store(PLACEHOLDER)

    result = scene.receiver.run("doctor")

    assert result.exit_code == 1
    assert "[E_SECRET_PLACEHOLDER]" in result.stdout
    assert "openai-webhooks endpoint rotate" in result.stdout


def test_warning_sets_exit_status_only_if_strict(scene: Scene) -> None:
    add_useless_rule(scene)

    assert scene.receiver.run("doctor").exit_code == 0
    assert scene.receiver.run("doctor", "--strict").exit_code == 1


def test_json_has_record_for_each_finding_and_verdict(scene: Scene) -> None:
    add_useless_rule(scene)
    add_useless_rule(scene)

    result = scene.receiver.run("doctor", "--json", "--strict")

    assert codes(result).keys() == CHECKS.keys()
    assert codes(result)["rules"] == {"", "W_RULE_NOTHING"}
    verdict = json.loads(result.stdout.splitlines()[-1])
    # The embedded AWS has neither alarms nor an archive.
    assert verdict == {"type": "verdict", "ok": False, "failures": 0, "warnings": 2, "skipped": 2}


def test_no_secret_is_printed(scene: Scene) -> None:
    secret = scene.openai.secrets[scene.endpoint_id][0]

    result = scene.receiver.run("doctor")

    assert secret not in result.output
    assert secret[6:12] not in result.output


def test_checks_of_openai_are_skipped_without_key(scene: Scene) -> None:
    result = scene.receiver.run("doctor", "--json", OPENAI_API_KEY="")

    assert result.exit_code == 0
    assert {check for check, found in codes(result).items() if found == {"SKIPPED"}} == {
        "endpoint",
        "types",
        "alarms",
        "archive",
    }


@pytest.mark.parametrize(
    ("operation", "check"),
    [
        ("GetSecretValue", "signing secret"),
        ("FilterLogEvents", "receiver log"),
        ("DescribeRule", "arrivals"),
        ("GetQueueAttributes", "dead letters"),
        ("GetCallerIdentity", "credentials"),
        ("ListQueues", "leftovers"),
    ],
)
def test_denied_call_skips_only_its_check(scene: Scene, faults: AwsFaults, operation: str, check: str) -> None:
    faults.fail(operation, "AccessDeniedException")

    result = scene.receiver.run("doctor", "--json")

    assert result.exit_code == 0
    skipped = {check for check, found in codes(result).items() if "SKIPPED" in found}
    assert skipped == {check, "alarms", "archive"}
    assert "openai-webhooks iam doctor" in result.stdout


def test_unreadable_rules_do_not_hide_deliveries(scene: Scene, faults: AwsFaults) -> None:
    faults.fail("ListRules", "AccessDeniedException")

    found = codes(scene.receiver.run("doctor", "--json"))

    assert found["rules"] == {"SKIPPED"}
    assert found["deliveries"] == {""}


def test_failing_call_is_a_warning(scene: Scene, faults: AwsFaults) -> None:
    faults.fail("GetMetricData", "InternalServiceFault")

    result = scene.receiver.run("doctor", "--json")

    assert codes(result)["deliveries"] == {"W_CHECK"}
    assert codes(result)["signing secret"] == {""}


def test_refusal_of_openai_skips_its_checks(scene: Scene) -> None:
    scene.openai.api_key = "sk-another"

    found = codes(scene.receiver.run("doctor", "--json", OPENAI_API_KEY="sk-test"))

    assert found["endpoint"] == found["types"] == {"SKIPPED"}
    assert found["signing secret"] == {""}


def test_fix_commands_select_same_stack(scene: Scene) -> None:
    scene.store(samples.new_secret())

    result = scene.receiver.run("doctor", "--json", "--region=us-east-1")
    findings = [json.loads(line) for line in result.stdout.splitlines()]
    [fix] = [finding["fix"] for finding in findings if finding.get("code") == "E_SECRET_MISMATCH"]
    assert fix == "openai-webhooks endpoint rotate --region us-east-1"


def test_probe_arrives_on_bus(scene: Scene) -> None:
    result = scene.receiver.run("doctor", "--probe", "--yes", "--json")

    assert result.exit_code == 0, result.output
    assert codes(result)["probe"] == {""}
    assert scene.openai.actions.count("test") == 1


def test_refused_probe_is_failure(scene: Scene, answers: list[int]) -> None:
    answers.append(401)

    result = scene.receiver.run("doctor", "--probe", "--yes", "--json")

    assert result.exit_code == 1
    assert codes(result)["probe"] == {"E_PROBE"}


def test_probe_that_openai_does_not_send_is_failure(scene: Scene) -> None:
    scene.openai.fail("test", 400)

    result = scene.receiver.run("doctor", "--probe", "--yes", "--json")

    assert codes(result)["probe"] == {"E_PROBE"}


def test_probe_that_does_not_arrive_is_failure(
    scene: Scene, answers: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PROBE_TIMEOUT", 1)
    answers.append(200)

    result = scene.receiver.run("doctor", "--probe", "--yes", "--json")

    assert result.exit_code == 1
    assert codes(result)["probe"] == {"E_PROBE"}


def test_probe_without_endpoint_is_skipped(scene: Scene) -> None:
    rename_and_move_endpoint(scene)

    result = scene.receiver.run("doctor", "--probe", "--yes", "--json")

    assert codes(result)["probe"] == {"SKIPPED"}


def test_probe_needs_confirmation(scene: Scene) -> None:
    result = scene.receiver.run("doctor", "--probe")

    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert "test" not in scene.openai.actions


def test_probe_needs_key(receiver: DeployedReceiver) -> None:
    result = receiver.run("doctor", "--probe", "--yes", OPENAI_API_KEY="")

    assert result.exit_code == 2
    assert "OPENAI_API_KEY" in result.stderr


def test_every_outcome_is_known() -> None:
    assert {rejection.outcome for rejection in REJECTIONS.values()} | set(get_args(Outcome)) == set(OUTCOMES)
