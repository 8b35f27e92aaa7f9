"""`openai-webhooks doctor`: green on a healthy stack, and each planted fault found by its code."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final, get_args
from uuid import uuid4

import pytest
from moto.events.models import events_backends
from typer.testing import Result

from cli.tests.support.aws_calls import AwsFaults
from cli.tests.support.deployed_receiver import DeployedReceiver
from cli.tests.support.openai_stand_in import EndpointsStandIn
from openai_webhooks import CATALOG
from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.activity import OUTCOMES, PERIOD
from openai_webhooks_cli.aws.rules import arrival_rule
from openai_webhooks_cli.aws.stack import Resource, Stack
from openai_webhooks_cli.aws.tap import LEASE, Tap
from openai_webhooks_cli.commands import doctor
from openai_webhooks_cli.commands.doctor_checks import CHECKS, Finding, Visit
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION
from openai_webhooks_cli.openai_platform import sample_delivery
from receiver.receiver import Outcome
from receiver.rejections import REJECTIONS

HANDLED: Final = [
    event_type for event_type in CATALOG if event_type.startswith("batch.") or event_type.endswith(".failed")
]
"""The types that the subscribers' rules match."""
TOPIC: Final = "arn:aws:sns:us-east-1:123456789012:alarms"
PLACEHOLDER: Final = "Placeholder until the signing secret is stored."
HOUR: Final = 3600  # seconds
BATCH: Final = {"source": ["openai.com"], "detail-type": ["batch.completed"]}
NO_TYPE: Final = {"source": ["openai.com"], "detail-type": ["batch.complete"]}
INBOX: Final = f"arn:aws:sqs:{REGION}:{ACCOUNT}:OnBatchFunctionInbox"


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

    It has a name, a log, alarms and an archive of its own.
    """

    def __init__(self, receiver: DeployedReceiver, openai: EndpointsStandIn) -> None:
        self.receiver = receiver
        self.openai = openai
        self.sessions: list[Tap] = []
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

    def add_rule(self, pattern: dict[str, Any], *, target: str = "", **settings: Any) -> None:
        events, name = self.client("events"), f"rule-{uuid4().hex[:8]}"
        events.put_rule(Name=name, EventBusName=self.stack.bus, EventPattern=json.dumps(pattern), **settings)
        if target:
            self.add_target(name)

    def add_target(self, rule: str) -> None:
        """Add a target without a dead-letter queue."""
        target = {"Id": "t", "Arn": INBOX}
        self.client("events").put_targets(Rule=rule, EventBusName=self.stack.bus, Targets=[target])

    def disable_arrival_rule(self) -> None:
        rule = {"Name": arrival_rule(self.stack), "EventBusName": self.stack.bus}
        self.client("events").disable_rule(**rule)

    def put_dead_letter(self) -> None:
        sqs = self.client("sqs")
        url = sqs.get_queue_url(QueueName="OnBatchDeadLetters")["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody="{}")

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
        self.sessions.append(tap)

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

    def delete_alarm(self) -> None:
        self.client("cloudwatch").delete_alarms(AlarmNames=[f"{self.name}-RefusalAlarm"])

    def disable_archive(self) -> None:
        events_backends[ACCOUNT][REGION].archives[self.name].state = "DISABLED"

    def _stack(self, deployed: Stack) -> Stack:
        for alarm in ("ErrorAlarm", "RefusalAlarm"):
            self.alarm(alarm)
        self.client("logs").create_log_group(logGroupName=self.name)
        events = self.client("events")
        events.create_archive(ArchiveName=self.name, EventSourceArn=deployed.bus_arn, RetentionDays=14)
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
def scene(receiver: DeployedReceiver, openai: EndpointsStandIn) -> Iterator[Scene]:
    yield (scene := Scene(receiver, openai))
    for session in scene.sessions:
        session.close()


MOVED: Final = "https://old.example.com/webhooks/openai"


def set_stack(scene: Scene, **attributes: Any) -> None:
    for name, value in attributes.items():
        setattr(scene.stack, name, value)


def lose_events_after_arrivals(scene: Scene) -> None:
    scene.count("Published", seconds_ago=5 * HOUR)
    scene.count("MatchedEvents", rule=scene.rule("ArrivalRule"), seconds_ago=5 * HOUR)
    scene.count("Published")


def fail_to_publish_in_same_minute(scene: Scene) -> None:
    scene.deliver("Published", seconds_ago=60)
    scene.count("MatchedEvents", rule=scene.rule("ArrivalRule"), seconds_ago=60)
    scene.deliver("PublishFailed", seconds_ago=59)


def fail_to_publish_earlier(scene: Scene) -> None:
    scene.deliver("PublishFailed", seconds_ago=60)
    scene.deliver("Published", seconds_ago=5)


def drift(scene: Scene) -> None:
    scene.count("SchemaDrift")
    scene.log(_aws={}, outcome="Published", drift="data.id: missing")


def turn_archive_off(scene: Scene) -> None:
    del scene.stack.resources["EventArchive"]
    scene.stack.parameters["ArchiveRetentionDays"] = "0"


FAULTS: Final[dict[str, tuple[Callable[[Scene], Any], set[str]]]] = {
    "stack rolled back": (lambda scene: set_stack(scene, status="UPDATE_ROLLBACK_COMPLETE"), {"E_STACK"}),
    "old template": (lambda scene: scene.stack.outputs.update(TemplateVersion="0.0.1"), {"W_VERSION"}),
    "slow clock": (lambda scene: set_stack(scene, clock_skew=45), {"W_CLOCK"}),
    "fast clock": (lambda scene: set_stack(scene, clock_skew=-45), {"W_CLOCK"}),
    "placeholder": (lambda scene: scene.store(PLACEHOLDER), {"E_SECRET_PLACEHOLDER"}),
    "malformed secret": (lambda scene: scene.store("whsec_short"), {"E_SECRET_MALFORMED"}),
    "malformed value among valid ones": (
        lambda scene: scene.store(f"{scene.openai.secrets[scene.endpoint_id][0]} whsec_short"),
        {"W_SECRET_MALFORMED"},
    ),
    "another secret": (lambda scene: scene.store(samples.new_secret()), {"E_SECRET_MISMATCH"}),
    "endpoint changed after secret": (
        lambda scene: scene.change_endpoint(signing_secret_hint=None, updated_at=int(time.time()) + 60),
        {"W_SECRET_OLD"},
    ),
    "endpoint of path elsewhere": (lambda scene: scene.change_endpoint(url=MOVED, name="a"), {"E_URL", "SKIPPED"}),
    "endpoint of path with slash": (
        lambda scene: scene.change_endpoint(url=f"{MOVED}/", name="a"),
        {"E_URL", "SKIPPED"},
    ),
    "endpoint of name elsewhere": (lambda scene: scene.change_endpoint(url=f"{MOVED}/x"), {"E_URL", "SKIPPED"}),
    "no endpoint": (lambda scene: scene.change_endpoint(url=f"{MOVED}/x", name="a"), {"E_ENDPOINT", "SKIPPED"}),
    "two endpoints": (lambda scene: scene.openai.register(scene.url, event_types=HANDLED), {"E_ENDPOINT_TWICE"}),
    "unhandled type": (lambda scene: scene.change_endpoint(event_types=[*HANDLED, "video.completed"]), {"W_UNHANDLED"}),
    "unhandled type outside catalog": (
        lambda scene: scene.change_endpoint(event_types=[*HANDLED, "dream.completed"]),
        {"W_UNHANDLED"},
    ),
    "handled type not registered": (lambda scene: scene.change_endpoint(event_types=HANDLED[1:]), {"W_UNREGISTERED"}),
    "rule disabled": (
        lambda scene: scene.add_rule({"source": ["openai.com"]}, State="DISABLED"),
        {"W_RULE_DISABLED"},
    ),
    "rule for nothing": (lambda scene: scene.add_rule(NO_TYPE), {"W_RULE_NOTHING"}),
    "target without dead-letter queue": (lambda scene: scene.add_rule(BATCH, target=INBOX), {"W_NO_DEAD_LETTERS"}),
    "one of two targets without dead-letter queue": (
        lambda scene: scene.add_target(scene.rule("OnBatch")),
        {"W_NO_DEAD_LETTERS"},
    ),
    "failed invocations": (
        lambda scene: scene.count("FailedInvocations", rule=scene.rule("OnBatch")),
        {"W_FAILED_INVOCATIONS"},
    ),
    "dead letter": (Scene.put_dead_letter, {"W_DEAD_LETTERS"}),
    "bus refuses": (lambda scene: scene.deliver("PublishFailed"), {"E_REFUSED"}),
    "bus refuses since a minute": (fail_to_publish_in_same_minute, {"E_REFUSED"}),
    "bus refused earlier": (fail_to_publish_earlier, {"W_REFUSED"}),
    "forgery": (lambda scene: scene.deliver("Unverified"), {"W_REFUSED"}),
    "drift": (drift, {"W_SCHEMA_DRIFT"}),
    "table fails": (lambda scene: scene.count("DeduplicationUnavailable"), {"W_DEDUPLICATION"}),
    "nothing arrives": (lambda scene: scene.count("Published"), {"E_NOT_ARRIVED"}),
    "nothing arrives any more": (lose_events_after_arrivals, {"E_NOT_ARRIVED"}),
    "arrival rule disabled": (Scene.disable_arrival_rule, {"W_RULE_DISABLED"}),
    "error in log": (lambda scene: scene.log(level="ERROR", message="planted", reason="planted"), {"W_ERRORS"}),
    "alarm fires": (lambda scene: scene.set_state("ErrorAlarm", "ALARM"), {"W_ALARM"}),
    "alarm deleted": (Scene.delete_alarm, {"W_ALARM", "W_ALARM_ACTION"}),
    "alarm without action": (lambda scene: scene.alarm("ErrorAlarm", AlarmActions=[]), {"W_ALARM_ACTION"}),
    "alarm with disabled action": (lambda scene: scene.alarm("ErrorAlarm", ActionsEnabled=False), {"W_ALARM_ACTION"}),
    "archive disabled": (Scene.disable_archive, {"W_ARCHIVE"}),
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
    scene.add_rule(NO_TYPE)

    assert scene.receiver.run("doctor").exit_code == 0
    assert scene.receiver.run("doctor", "--strict").exit_code == 1


def test_json_has_record_for_each_finding_and_verdict(scene: Scene) -> None:
    scene.add_rule(NO_TYPE)
    scene.add_rule(NO_TYPE)

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


@pytest.mark.parametrize(
    ("answer", "expected"), [(401, "E_PROBE"), (200, "E_PROBE"), (0, "E_PROBE")], ids=["refused", "lost", "not sent"]
)
def test_probe_that_does_not_arrive_is_failure(
    scene: Scene, answers: list[int], monkeypatch: pytest.MonkeyPatch, answer: int, expected: str
) -> None:
    monkeypatch.setattr(sample_delivery, "ARRIVAL_TIMEOUT", 1)
    if answer:
        answers.append(answer)
    else:
        scene.openai.fail("test", 400)

    result = scene.receiver.run("doctor", "--probe", "--yes", "--json")

    assert result.exit_code == 1
    assert codes(result)["probe"] == {expected}


def test_probe_without_endpoint_is_skipped(scene: Scene) -> None:
    scene.change_endpoint(url=f"{MOVED}/x", name="a")

    assert codes(scene.receiver.run("doctor", "--probe", "--yes", "--json"))["probe"] == {"SKIPPED"}


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
