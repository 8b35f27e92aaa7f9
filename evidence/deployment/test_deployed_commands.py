"""The commands for a deployed stack, on both stacks in ministack: a real `sam deploy`, real functions, real rules."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from cli.tests.support.openai_stand_in import EndpointsStandIn
from cli.tests.support.signed_delivery import new_delivery
from evidence.deployment.ministack import ACCOUNT, Deployed, Ministack
from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.stack import Session, read_stack
from openai_webhooks_cli.aws.tap import LEASE, Tap

COMMAND: Final = str(Path(sys.executable).with_name("openai-webhooks"))
REGION: Final = "us-east-1"
STACK: Final = "commands"


class Commands:
    """`openai-webhooks`, as a user runs it, with stacks in ministack and the stand-in for OpenAI."""

    def __init__(self, aws: Ministack, checkout: Path) -> None:
        self.aws = aws
        self._checkout = checkout
        self._topic = aws.client("sns").create_topic(Name="alarms")["TopicArn"]
        self.receiver = self.deploy(ArchiveRetentionDays="14")
        self.subscriber = aws.deploy(
            "commands-subscriber", checkout / "examples/subscriber", ReceiverStack=STACK, AlarmTopicArn=self._topic
        )
        # The URL in the stack's outputs leads to AWS.
        self.openai = EndpointsStandIn(route=lambda _: self.receiver.url)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS")} | {
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "OPENAI_WEBHOOKS_STACK": STACK,
            **self.openai.environment,
        }

    def deploy(self, **parameters: str) -> Deployed:
        """Deploy the receiver, whose alarms notify a topic."""
        return self.aws.deploy(STACK, self._checkout, AlarmTopicArn=self._topic, **parameters)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *arguments], env=self.environment, capture_output=True, text=True, timeout=120, check=False
        )

    def records(self, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
        """Run a command with --json and return its records."""
        result = self.run(*arguments, "--json")
        assert result.returncode == status, result.stdout + result.stderr
        return [json.loads(line) for line in result.stdout.splitlines()]

    def answers(self, *secrets: str) -> list[int]:
        """Return the statuses of the answers to deliveries that are signed with these secrets."""
        return [new_delivery("batch.failed", secret=secret).post(self.receiver.url)[0] for secret in secrets]

    @property
    def signing_secrets(self) -> list[str]:
        """The secrets that OpenAI can sign with, the newest first."""
        [signing_secrets] = self.openai.secrets.values()
        return signing_secrets

    def codes(self, *, status: int) -> set[str]:
        """Return the codes of doctor's findings."""
        return {record["code"] for record in self.records("doctor", "--strict", status=status) if record.get("code")}


@pytest.fixture(scope="module")
def commands(aws: Ministack, checkout: Path) -> Iterator[Commands]:
    commands = Commands(aws, checkout)
    with commands.openai:
        yield commands


@pytest.fixture(autouse=True)
def no_leftovers(aws: Ministack) -> Iterator[None]:
    yield
    rules = aws.client("events").list_rules(EventBusName=STACK)["Rules"]
    queues = aws.client("sqs").list_queues().get("QueueUrls", [])
    assert not [name for name in [*(rule["Name"] for rule in rules), *queues] if "-listen-" in name]


def test_create_connects_new_stack(commands: Commands) -> None:
    records = commands.records("endpoint", "create", "--handled")

    assert [record["type"] for record in records] == ["created", "answered", "arrived"]
    assert records[1]["status"] == 200


def test_listen_shows_signed_delivery(commands: Commands) -> None:
    with subprocess.Popen(
        [COMMAND, "listen", "--json", "--max=1"], env=commands.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["type"] == "ready"
        delivery = new_delivery("batch.completed", secret=commands.signing_secrets[0])
        assert delivery.post(commands.receiver.url) == (200, {"outcome": "published"})
        output, _ = process.communicate(timeout=30)

    event, closed = map(json.loads, output.splitlines())
    assert event["event"]["detail"] == delivery.event
    assert closed == {"type": "closed", "removed": True}


def test_rotation_accepts_old_secret_until_it_is_finished(commands: Commands) -> None:
    [old] = commands.signing_secrets

    rotated = commands.records("endpoint", "rotate")
    new, kept = commands.signing_secrets
    answers = commands.answers(old, new)
    early = commands.run("endpoint", "rotate", "--finish")
    finished = commands.records("endpoint", "rotate", "--finish", "--yes")
    commands.receiver.start_new_instances("ReceiverFunction")
    later = commands.answers(old, new)

    assert [record["type"] for record in rotated] == ["rotated", "answered", "arrived"]
    assert kept == old
    assert answers == [200, 200]
    assert early.returncode == 2
    assert finished[-1]["changed"]
    assert later == [401, 200]


def test_status_has_last_delivery(commands: Commands) -> None:
    [status] = commands.records("status")

    assert status["last_delivery"]["outcome"] == "Published"


def test_doctor_finds_nothing_in_healthy_stack(commands: Commands) -> None:
    # The emulator does not serve the URL, which is in AWS's domain.
    findings = commands.records("doctor", "--strict", "--probe", "--yes", "--ignore=E_INGRESS")

    assert not [finding for finding in findings if finding.get("code")]
    [probe] = [finding for finding in findings if finding.get("check") == "probe"]
    assert probe["severity"] == "ok"


def test_doctor_finds_planted_faults(commands: Commands) -> None:
    # The last test, because the faults stay.
    events, subscriber = commands.aws.client("events"), commands.subscriber
    commands.deploy(ArchiveRetentionDays="0")
    commands.receiver.store(samples.new_secret())
    commands.run("endpoint", "update", "--add", "video.completed")
    [rule] = [rule["Name"] for rule in events.list_rules(EventBusName=STACK)["Rules"] if "OnBatch" in rule["Name"]]
    events.disable_rule(Name=rule, EventBusName=STACK)
    useless = {"source": ["openai.com"], "detail-type": ["batch.complete"]}
    events.put_rule(Name="never", EventBusName=STACK, EventPattern=json.dumps(useless))
    commands.aws.client("sqs").send_message(QueueUrl=subscriber.id_of("OnBatchDeadLetters"), MessageBody="{}")
    commands.aws.client("cloudwatch").disable_alarm_actions(AlarmNames=[commands.receiver.id_of("RefusedAlarm")])

    with leftover_session(commands):
        found = commands.codes(status=1)

    assert found == {
        "E_INGRESS",
        "E_SECRET_MISMATCH",
        "E_TARGET",
        "W_ALARM_ACTION",
        "W_ARCHIVE",
        "W_DEAD_LETTERS",
        "W_LEFTOVERS",
        "W_RULE_DISABLED",
        "W_RULE_NOTHING",
        "W_UNHANDLED",
    }


@contextmanager
def leftover_session(commands: Commands) -> Iterator[None]:
    """Leave what `listen` created in a session that was killed, until the end of the `with` statement."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in commands.environment.items():
            patch.setenv(name, value)
        stack = read_stack(Session(region=REGION, endpoint_url=commands.aws.url), STACK)
        stack.clock_skew -= LEASE + 60
        abandoned = Tap(stack, [{"source": ["openai.com"]}])
        abandoned.create()
        yield
        abandoned.close()
