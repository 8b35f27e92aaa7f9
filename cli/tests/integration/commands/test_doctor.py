"""`openai-webhooks doctor`: green on a healthy stack, and each planted fault found by its code."""

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from types import SimpleNamespace
from typing import Any, Final, get_args
from uuid import uuid4

import pytest
import requests
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
from openai_webhooks_cli.commands.doctor_checks import CHECKS, Visit
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION
from openai_webhooks_cli.openai_platform import sample_delivery
from receiver.receiver import Outcome
from receiver.rejections import REJECTIONS

HANDLED: Final = [
    event_type for event_type in CATALOG if event_type.startswith("batch.") or event_type.endswith(".failed")
]
"""The types that the subscribers' rules match."""
DEAD_LETTERS: Final = f"arn:aws:sqs:{REGION}:{ACCOUNT}:OnBatchDeadLetters"
EVENTBRIDGE: Final = {"Service": "events.amazonaws.com"}
TOPIC: Final = "arn:aws:sns:us-east-1:123456789012:alarms"
PLACEHOLDER: Final = "Placeholder until the signing secret is stored."
MOVED: Final = "https://old.example.com/webhooks/openai"
HOUR: Final = 3600  # seconds
QUEUES: Final = ("OnBatchDeadLetters", "OnFailureDeadLetters")
BATCH: Final = {"source": ["openai.com"], "detail-type": ["batch.completed"]}
NOT_IN_EMBEDDED_AWS: Final = {"ingress", "alarms", "archive", "arrivals", "deliveries", "receiver log"}
NO_TYPE: Final = {"source": ["openai.com"], "detail-type": ["batch.complete"]}


def metric_of(queue: str) -> dict[str, Any]:
    return {
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateNumberOfMessagesVisible",
        "Dimensions": [{"Name": "QueueName", "Value": queue}],
    }


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


def skipped(result: Result) -> set[str]:
    return {check for check, found in codes(result).items() if found & {"SKIPPED", "DENIED"}}


class Scene:
    """A stack with everything that a real one has, its endpoint at OpenAI, and faults to plant in both.

    It has a name, a log, an alarm and an archive of its own.
    """

    def __init__(self, receiver: DeployedReceiver, openai: EndpointsStandIn) -> None:
        self.receiver = receiver
        self.openai = openai
        self.sessions: list[Tap] = []
        self.name = f"test-{uuid4().hex[:8]}"
        self.stack = self._stack(receiver.stack)
        for name in ("OnBatch", "OnFailure"):
            self.allow_invocation(f"{name}Function", name)
            self.allow(f"{name}DeadLetters")
        self.url = self.stack.outputs["WebhookUrl"]
        self.ingress: tuple[int, str] | None = (401, '{"error":"Unverified"}')
        """The answer to an unsigned delivery."""
        self.endpoint_id = openai.register(self.url, name=self.name, event_types=HANDLED)
        self.store(openai.secrets[self.endpoint_id][0])

    def problems(self) -> dict[str, set[str]]:
        """Return the codes of what is not well, by check. Each problem has a fix."""
        found: dict[str, set[str]] = {}
        for check, finding in doctor.examine(Visit(self.stack)):
            if finding.code:
                assert bool(finding.fix) == (finding.code not in ("SKIPPED", "DENIED")), finding
                found.setdefault(check, set()).add(finding.code)
        return found

    def client(self, service: str) -> Any:
        return self.receiver.client(service)

    def store(self, text: str) -> None:
        self.client("secretsmanager").put_secret_value(SecretId=self.receiver.secret_arn, SecretString=text)

    def count(self, metric: str, *, rule: str = "", seconds_ago: float = HOUR) -> None:
        """Add to a metric of the receiver, or of a rule."""
        dimensions = {"EventBusName": self.stack.bus, "RuleName": rule} if rule else {"service": "receiver"}
        data = {
            "MetricName": metric,
            "Dimensions": [{"Name": dimension, "Value": text} for dimension, text in dimensions.items()],
            "Timestamp": datetime.fromtimestamp(time.time() - seconds_ago, UTC),
            "Value": 1,
        }
        namespace = "AWS/Events" if rule else self.name
        self.client("cloudwatch").put_metric_data(Namespace=namespace, MetricData=[data])

    def log(self, *, seconds_ago: float = HOUR, **fields: Any) -> None:
        """Write a line to the receiver's log, in a stream of its own."""
        logs, stream = self.client("logs"), uuid4().hex
        logs.create_log_stream(logGroupName=self.name, logStreamName=stream)
        line = {"timestamp": int((time.time() - seconds_ago) * 1000), "message": json.dumps(fields)}
        logs.put_log_events(logGroupName=self.name, logStreamName=stream, logEvents=[line])

    def deliver(self, outcome: str, *, seconds_ago: float = HOUR) -> None:
        """Write what the receiver writes about a delivery."""
        self.count(outcome, seconds_ago=seconds_ago)
        self.log(outcome=outcome, reason=f"of {outcome}", seconds_ago=seconds_ago)

    def add_rule(self, pattern: dict[str, Any], **settings: Any) -> None:
        name = f"rule-{uuid4().hex[:8]}"
        rule = {"EventBusName": self.stack.bus}
        self.client("events").put_rule(Name=name, EventPattern=json.dumps(pattern), **rule, **settings)
        target = {"Id": "1", "Arn": DEAD_LETTERS, "DeadLetterConfig": {"Arn": DEAD_LETTERS}}
        self.client("events").put_targets(Rule=name, Targets=[target], **rule)

    def rule(self, part: str) -> str:
        """Return the name of the rule whose name has this part."""
        rules = self.client("events").list_rules(EventBusName=self.stack.bus)["Rules"]
        return next(str(rule["Name"]) for rule in rules if part in rule["Name"])

    def allow(self, queue: str, principal: Any = EVENTBRIDGE) -> None:
        """Give a queue a policy."""
        policy = {"Statement": [{"Effect": "Allow", "Principal": principal, "Action": "sqs:SendMessage"}]}
        sqs = self.client("sqs")
        url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
        sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})

    def allow_invocation(self, function: str, rule: str) -> None:
        permission = {"Action": "lambda:InvokeFunction", "Principal": EVENTBRIDGE["Service"]}
        self.client("lambda").add_permission(
            FunctionName=function, StatementId="rule", SourceArn=self.stack.rule_arn(self.rule(rule)), **permission
        )

    def change_endpoint(self, **fields: Any) -> None:
        self.openai.endpoints[self.endpoint_id].update(fields)

    def leave_session(self, *, lease: int) -> None:
        """Create the rule and the queue of a session whose lease ends in `lease` seconds."""
        real_skew = self.stack.clock_skew
        self.stack.clock_skew += lease - LEASE
        tap = Tap(self.stack, [BATCH])
        tap.create()
        self.stack.clock_skew = real_skew
        self.sessions.append(tap)

    def put_alarm(self, *, state: str = "OK", **settings: Any) -> None:
        """Create the alarm of the stack, or another one that `settings` describe."""
        alarm = {
            "AlarmName": self.name,
            "Namespace": self.name,
            "MetricName": "Published",
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 0,
            "ComparisonOperator": "GreaterThanThreshold",
            "AlarmActions": [TOPIC],
            **settings,
        }
        cloudwatch = self.client("cloudwatch")
        cloudwatch.put_metric_alarm(**alarm)
        cloudwatch.set_alarm_state(AlarmName=alarm["AlarmName"], StateValue=state, StateReason="planted")

    def watch(self, queue: str) -> None:
        self.put_alarm(AlarmName=f"{queue}-alarm", **metric_of(queue))

    def unwatch(self, queue: str) -> None:
        self.client("cloudwatch").delete_alarms(AlarmNames=[f"{queue}-alarm"])

    def _stack(self, deployed: Stack) -> Stack:
        self.put_alarm()
        for queue in QUEUES:
            self.watch(queue)
        self.client("logs").create_log_group(logGroupName=self.name)
        self.client("events").create_archive(ArchiveName=self.name, EventSourceArn=deployed.bus_arn, RetentionDays=14)
        resources = {
            **deployed.resources,
            "ReceiverFunction": Resource("AWS::Lambda::Function", self.name),
            "ReceiverLog": Resource("AWS::Logs::LogGroup", self.name),
            "EventArchive": Resource("AWS::Events::Archive", self.name),
            "RefusedAlarm": Resource("AWS::CloudWatch::Alarm", self.name),
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
def scene(receiver: DeployedReceiver, openai: EndpointsStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    scene, real_post = Scene(receiver, openai), requests.post

    def post(url: str, **options: Any) -> Any:
        if url != scene.url:
            return real_post(url, **options)
        if not scene.ingress:
            raise requests.ConnectionError
        return SimpleNamespace(status_code=scene.ingress[0], text=scene.ingress[1])

    monkeypatch.setattr(requests, "post", post)
    yield scene
    for session in scene.sessions:
        session.close()


def test_healthy_stack_passes_every_check(scene: Scene) -> None:
    scene.deliver("Published", seconds_ago=2000)
    scene.count("MatchedEvents", rule=scene.rule("ArrivalRule"), seconds_ago=2000)
    # What is neither lost, nor this stack's, nor ended is no problem.
    scene.deliver("Published", seconds_ago=PERIOD)
    scene.openai.register("https://staging.example.com/webhooks/openai", name="staging")
    scene.leave_session(lease=60)

    findings = doctor.examine(Visit(scene.stack))

    assert [(name, finding.code) for name, finding in findings] == [(name, "") for name in CHECKS], findings


def test_problems_of_stack(scene: Scene) -> None:
    scene.stack.status = "UPDATE_IN_PROGRESS"
    assert scene.problems() == {}
    scene.stack.status = "UPDATE_ROLLBACK_COMPLETE"
    scene.stack.outputs["TemplateVersion"] = "0.0.1"
    scene.stack.clock_skew = 45
    scene.put_alarm(state="ALARM")
    events_backends[ACCOUNT][REGION].archives[scene.name].state = "DISABLED"
    assert scene.problems() == {
        "stack": {"W_STACK", "W_VERSION"},
        "clock": {"W_CLOCK"},
        "alarms": {"E_ALARM"},
        "archive": {"W_ARCHIVE"},
    }
    scene.stack.status = "UPDATE_FAILED"
    assert "E_STACK" in scene.problems()["stack"]

    scene.stack.clock_skew = -45
    scene.client("cloudwatch").delete_alarms(AlarmNames=[scene.name])
    del scene.stack.resources["EventArchive"]
    scene.stack.parameters["ArchiveRetentionDays"] = "0"
    problems = scene.problems()
    assert problems["clock"] == {"W_CLOCK"}
    assert problems["alarms"] == {"W_ALARM", "W_ALARM_ACTION"}
    assert problems["archive"] == {"W_ARCHIVE"}


@pytest.mark.parametrize("settings", [{"AlarmActions": []}, {"ActionsEnabled": False}], ids=["none", "disabled"])
def test_alarm_without_action_is_found(scene: Scene, settings: dict[str, Any]) -> None:
    scene.put_alarm(**settings)

    assert scene.problems() == {"alarms": {"W_ALARM_ACTION"}}


def test_loss_that_nobody_would_hear_of_is_found(scene: Scene) -> None:
    scene.unwatch(QUEUES[0])
    assert scene.problems() == {"dead letters": {"W_NO_ALARM"}}
    scene.watch(QUEUES[0])

    scene.stack.resources["AlarmTopic"] = Resource(
        "AWS::SNS::Topic", scene.client("sns").create_topic(Name=scene.name)["TopicArn"]
    )
    scene.stack.parameters["AlarmEmail"] = "me@example.com"
    assert scene.problems() == {"alarms": {"W_ALARM_PENDING"}}

    # The alarm that a gradual deployment always has notifies nobody.
    scene.stack.resources["CanaryAlarm"] = scene.stack.resources.pop("RefusedAlarm")
    scene.stack.parameters["Alarms"] = "disabled"
    assert scene.problems() == {"alarms": {"W_ALARMS_OFF"}}


def test_alarm_for_queue_notifies_topic_of_stack(scene: Scene) -> None:
    scene.unwatch(QUEUES[0])
    scene.stack.outputs["AlarmTopicArn"] = TOPIC

    [fix] = [finding.fix for _, finding in doctor.examine(Visit(scene.stack)) if finding.code]
    assert fix.startswith("aws cloudwatch put-metric-alarm")
    assert f"--alarm-actions {TOPIC}" in fix
    assert f"Name=QueueName,Value={QUEUES[0]}" in fix


def test_problems_of_secret(scene: Scene) -> None:
    [valid] = scene.openai.secrets[scene.endpoint_id]
    for text, code in {
        PLACEHOLDER: "E_SECRET_PLACEHOLDER",
        "whsec_short": "E_SECRET_MALFORMED",
        f"{valid} whsec_short": "W_SECRET_MALFORMED",
        samples.new_secret(): "E_SECRET_MISMATCH",
        f"{valid} {samples.new_secret()}": "W_SECRET_UNKNOWN",
    }.items():
        scene.store(text)
        assert scene.problems() == {"signing secret": {code}}

    # Without a hint, nothing tells whether the endpoint has another secret.
    scene.change_endpoint(signing_secret_hint=None)
    assert scene.problems() == {}


def test_problems_of_endpoint(scene: Scene) -> None:
    moved = {"endpoint": {"E_URL"}, "types": {"SKIPPED"}}
    scene.change_endpoint(url=MOVED, name=scene.name)
    assert scene.problems() == moved

    # It can be the endpoint of another stack.
    scene.change_endpoint(name="a")
    assert scene.problems() == {"endpoint": {"E_ENDPOINT"}, "types": {"SKIPPED"}}

    scene.change_endpoint(url=scene.url)
    scene.openai.register(scene.url, event_types=HANDLED)
    assert scene.problems() == {"endpoint": {"E_ENDPOINT_TWICE"}}


def test_problems_of_types(scene: Scene) -> None:
    scene.change_endpoint(event_types=[])
    assert scene.problems() == {"types": {"E_ENDPOINT"}}
    for types, code in (
        ([*HANDLED, "video.completed"], "W_UNHANDLED"),
        ([*HANDLED, "dream.completed"], "W_UNHANDLED"),  # not in the catalog
        (HANDLED[1:], "W_UNREGISTERED"),
    ):
        scene.change_endpoint(event_types=types)
        assert scene.problems() == {"types": {code}}


def test_rules_that_do_nothing_are_found(scene: Scene) -> None:
    scene.add_rule({"source": ["openai.com"]}, State="DISABLED")
    scene.add_rule(NO_TYPE)

    assert scene.problems() == {"rules": {"W_RULE_DISABLED", "W_RULE_NOTHING"}}


def test_events_that_subscribers_do_not_get_are_found(scene: Scene) -> None:
    on_batch = {"Rule": scene.rule("OnBatch"), "EventBusName": scene.stack.bus}
    without_queue = {"Id": "t", "Arn": DEAD_LETTERS}
    scene.client("events").put_targets(**on_batch, Targets=[without_queue])
    scene.count("FailedInvocations", rule=on_batch["Rule"])
    url = scene.client("sqs").get_queue_url(QueueName="OnBatchDeadLetters")["QueueUrl"]
    scene.client("sqs").send_message(QueueUrl=url, MessageBody="{}")

    assert scene.problems() == {
        "rules": {"W_NO_DEAD_LETTERS", "W_FAILED_INVOCATIONS"},
        "dead letters": {"W_DEAD_LETTERS"},
    }


def test_session_that_ended_is_leftover(scene: Scene) -> None:
    scene.leave_session(lease=-60)

    assert scene.problems() == {"leftovers": {"W_LEFTOVERS"}}


def test_newest_refusal_decides(scene: Scene) -> None:
    scene.deliver("PublishFailed")
    assert scene.problems() == {"deliveries": {"E_REFUSED"}}

    # In the same minute, the log decides.
    scene.deliver("Published", seconds_ago=60)
    scene.count("MatchedEvents", rule=scene.rule("ArrivalRule"), seconds_ago=60)
    scene.deliver("PublishFailed", seconds_ago=59)
    assert scene.problems() == {"deliveries": {"E_REFUSED"}}

    scene.deliver("Published", seconds_ago=5)
    assert scene.problems() == {}

    # CloudWatch does not know it yet.
    scene.log(outcome="NotConfigured", seconds_ago=2)
    assert scene.problems() == {"deliveries": {"E_REFUSED"}}


def test_only_repeated_forgery_is_problem(scene: Scene) -> None:
    for webhook_id in ("wh_1", "wh_2", "wh_3"):
        scene.log(outcome="SignatureMismatch", webhook_id=webhook_id, seconds_ago=60)
    scene.deliver("Unverified")
    assert scene.problems() == {}

    for _ in range(2):
        scene.log(outcome="SignatureMismatch", webhook_id="wh_3", seconds_ago=30)
    assert scene.problems() == {"deliveries": {"E_REFUSED"}}


@pytest.mark.parametrize(
    ("answer", "fix"),
    [
        (None, "curl -i -X POST https://"),
        ((404, '{"message":"Not Found"}'), "aws apigatewayv2 get-routes"),
        ((500, '{"message":"Internal Server Error"}'), "aws logs tail"),
        ((401, '{"message":"Unauthorized"}'), "aws logs tail"),
        ((200, '{"outcome":"published"}'), "aws logs tail"),
    ],
    ids=str,
)
def test_ingress_that_does_not_work_is_found(scene: Scene, answer: tuple[int, str] | None, fix: str) -> None:
    scene.ingress = answer

    assert scene.problems() == {"ingress": {"E_INGRESS"}}
    [finding] = [finding for _, finding in doctor.examine(Visit(scene.stack)) if finding.code]
    assert finding.fix.startswith(fix)


def test_target_that_gets_no_event_is_found(scene: Scene) -> None:
    functions, events = scene.client("lambda"), scene.client("events")
    rule = {"Rule": scene.rule("OnBatch"), "EventBusName": scene.stack.bus}
    target = events.list_targets_by_rule(**rule)["Targets"]
    problems = []

    def found() -> list[str]:
        findings = [finding for _, finding in doctor.examine(Visit(scene.stack)) if finding.code]
        assert not findings or {finding.code for finding in findings} & {"E_TARGET", "W_NO_DEAD_LETTERS"}
        return [finding.text for finding in findings if finding.code in ("E_TARGET", "W_NO_DEAD_LETTERS")]

    def plant(fault: Callable[[], object], repair: Callable[[], object]) -> None:
        fault()
        problems.extend(found())
        repair()
        assert found() == []

    allow = partial(scene.allow_invocation, "OnBatchFunction", "OnBatch")
    plant(lambda: functions.remove_permission(FunctionName="OnBatchFunction", StatementId="rule"), allow)
    function = scene.receiver.subscriber.functions["OnBatchFunction"]

    def create_again() -> None:
        scene.receiver.aws.create_function(function, [])
        allow()

    plant(lambda: functions.delete_function(FunctionName="OnBatchFunction"), create_again)
    plant(lambda: scene.allow("OnBatchDeadLetters", {"AWS": "123456789012"}), lambda: scene.allow("OnBatchDeadLetters"))
    absent = {**target[0], "DeadLetterConfig": {"Arn": f"{DEAD_LETTERS}-absent"}}
    put = partial(events.put_targets, **rule)
    plant(lambda: put(Targets=[absent]), lambda: put(Targets=target))
    plant(lambda: events.remove_targets(**rule, Ids=[target[0]["Id"]]), lambda: put(Targets=target))

    expected = ("may not invoke", "does not exist", "keeps EventBridge out", "does not exist", "no target")
    assert len(problems) == len(expected), problems
    assert [part for text, part in zip(problems, expected, strict=True) if part not in text] == []


def test_secret_that_is_being_deleted_is_found(scene: Scene) -> None:
    scene.client("secretsmanager").delete_secret(SecretId=scene.receiver.secret_arn)

    assert scene.problems() == {"signing secret": {"E_SECRET_DELETED"}}


def test_notes_of_receiver_are_found(scene: Scene) -> None:
    scene.deliver("TooLarge")
    scene.count("SchemaDrift")
    scene.log(outcome="Published", drift="data.id: missing")
    scene.count("DeduplicationUnavailable")
    scene.log(level="ERROR", message="\x1b[2J", reason="\u202e")

    assert scene.problems() == {
        "deliveries": {"W_REFUSED", "W_SCHEMA_DRIFT", "W_DEDUPLICATION"},
        "receiver log": {"W_ERRORS"},
    }
    texts = [finding.text for _, finding in doctor.examine(Visit(scene.stack)) if finding.code]
    assert any("of TooLarge" in text for text in texts)
    assert all(text.isprintable() for text in texts)


def test_events_that_do_not_arrive_are_found(scene: Scene) -> None:
    scene.count("Published")
    assert scene.problems() == {"arrivals": {"E_NOT_ARRIVED"}}

    scene.count("Published", seconds_ago=5 * HOUR)
    scene.count("MatchedEvents", rule=scene.rule("ArrivalRule"), seconds_ago=5 * HOUR)
    assert scene.problems() == {"arrivals": {"E_NOT_ARRIVED"}}

    scene.client("events").disable_rule(Name=arrival_rule(scene.stack), EventBusName=scene.stack.bus)
    assert scene.problems() == {"arrivals": {"W_RULE_DISABLED"}}


# ---- The command ----


def test_failure_sets_exit_status_and_names_fix(scene: Scene) -> None:
    secrets = [samples.new_secret(), *scene.openai.secrets[scene.endpoint_id]]
    for text, code in ((secrets[0], "E_SECRET_MISMATCH"), (PLACEHOLDER, "E_SECRET_PLACEHOLDER")):
        scene.store(text)

        result = scene.receiver.run("doctor", "--region=us-east-1")

        assert result.exit_code == 1
        assert f"[{code}]" in result.stdout
        assert "openai-webhooks endpoint rotate --region us-east-1" in result.stdout
        assert not [secret for secret in secrets if secret[6:12] in result.output]


def test_warning_sets_exit_status_only_if_strict(scene: Scene) -> None:
    scene.add_rule(NO_TYPE)
    scene.add_rule(NO_TYPE)

    assert scene.receiver.run("doctor").exit_code == 0
    result = scene.receiver.run("doctor", "--json", "--strict")

    assert codes(result).keys() == CHECKS.keys()
    assert codes(result)["rules"] == {"", "W_RULE_NOTHING"}
    verdict = json.loads(result.stdout.splitlines()[-1])
    skips = len(NOT_IN_EMBEDDED_AWS)
    assert verdict == {"type": "verdict", "ok": False, "failures": 0, "warnings": 2, "skipped": skips}
    assert scene.receiver.run("doctor", "--strict", "--ignore=W_RULE_NOTHING", "--ignore=SKIPPED").exit_code == 0


@pytest.mark.parametrize("key", ["", "sk-another"], ids=["without key", "refused"])
def test_only_checks_of_openai_are_skipped_without_valid_key(scene: Scene, key: str) -> None:
    scene.unwatch(QUEUES[0])

    result = scene.receiver.run("doctor", "--json", OPENAI_API_KEY=key)

    assert (result.exit_code, codes(result)["dead letters"]) == (0, {""})
    assert skipped(result) == {"endpoint", "types"} | NOT_IN_EMBEDDED_AWS
    # Without a key, nobody asked OpenAI. A key that OpenAI refuses is a problem.
    assert scene.receiver.run("doctor", "--strict", OPENAI_API_KEY=key).exit_code == bool(key)


def test_denied_call_skips_only_its_check(scene: Scene, faults: AwsFaults) -> None:
    checks = {
        "GetSecretValue": "signing secret",
        "FilterLogEvents": "receiver log",
        "DescribeRule": "arrivals",
        "GetQueueAttributes": "dead letters",
        "GetCallerIdentity": "credentials",
        "ListQueues": "leftovers",
    }
    for operation in checks:
        faults.fail(operation, "AccessDeniedException")

    result = scene.receiver.run("doctor", "--json")

    assert result.exit_code == 0
    assert scene.receiver.run("doctor", "--strict").exit_code == 1
    assert skipped(result) == {*checks.values()} | NOT_IN_EMBEDDED_AWS
    assert "openai-webhooks iam doctor" in result.stdout


def test_unreadable_rules_do_not_hide_deliveries(scene: Scene, faults: AwsFaults) -> None:
    faults.fail("ListRules", "AccessDeniedException")

    scene.stack.session.renew()  # sessions that exist do not know the fault
    problems = scene.problems()

    assert problems["rules"] == {"DENIED"}
    assert "deliveries" not in problems


def test_failing_call_is_a_warning(scene: Scene, faults: AwsFaults) -> None:
    faults.fail("GetMetricData", "InternalServiceFault")

    result = scene.receiver.run("doctor", "--json")

    assert codes(result)["deliveries"] == {"W_CHECK"}
    assert codes(result)["signing secret"] == {""}


def test_probe_arrives_on_bus(scene: Scene) -> None:
    result = scene.receiver.run("doctor", "--probe", "--yes", "--json")

    assert result.exit_code == 0, result.output
    assert codes(result)["probe"] == {""}
    assert scene.openai.actions.count("test") == 1


@pytest.mark.parametrize("answer", [401, 200, 0], ids=["refused", "lost", "not sent"])
def test_probe_that_does_not_arrive_is_failure(
    scene: Scene, answers: list[int], monkeypatch: pytest.MonkeyPatch, answer: int
) -> None:
    monkeypatch.setattr(sample_delivery, "ARRIVAL_TIMEOUT", 0)
    if answer:
        answers.append(answer)
    else:
        scene.openai.fail("test", 400)

    result = scene.receiver.run("doctor", "--probe", "--yes", "--json")

    assert result.exit_code == 1
    assert codes(result)["probe"] == {"E_PROBE"}


def test_probe_needs_endpoint_confirmation_and_key(scene: Scene) -> None:
    scene.change_endpoint(url=f"{MOVED}/x", name="a")
    assert codes(scene.receiver.run("doctor", "--probe", "--yes", "--json"))["probe"] == {"SKIPPED"}

    unconfirmed = scene.receiver.run("doctor", "--probe")
    assert (unconfirmed.exit_code, "--yes" in unconfirmed.stderr) == (2, True)
    without_key = scene.receiver.run("doctor", "--probe", "--yes", OPENAI_API_KEY="")
    assert (without_key.exit_code, "OPENAI_API_KEY" in without_key.stderr) == (2, True)
    assert "test" not in scene.openai.actions


def test_every_outcome_is_known() -> None:
    assert {rejection.outcome for rejection in REJECTIONS.values()} | set(get_args(Outcome)) == set(OUTCOMES)
