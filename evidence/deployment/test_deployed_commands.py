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
from evidence.deployment.ministack import ACCOUNT, Ministack, built_checkout, ministack
from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.stack import Session, read_stack
from openai_webhooks_cli.aws.tap import LEASE, Tap

COMMAND: Final = str(Path(sys.executable).with_name("openai-webhooks"))
REGION: Final = "us-east-1"
BUS: Final = "openai-webhooks"
ALSO: Final = {
    "W_RULE_DISABLED": {"W_UNHANDLED"},
    "E_URL": {"SKIPPED"},
}
"""Codes that a fault brings with it."""


class Commands:
    """`openai-webhooks`, as a user runs it, with the stack in ministack and the stand-in for OpenAI."""

    def __init__(self, aws: Ministack, checkout: Path) -> None:
        self.aws = aws
        self.clock_error = 0
        self._checkout = checkout
        self._topic = aws.client("sns").create_topic(Name="alarms")["TopicArn"]
        self.deploy()
        self.subscriber = aws.deploy("openai-webhooks-subscriber", checkout / "examples/subscriber")
        # The URL in the stack's outputs leads to AWS.
        self.openai = EndpointsStandIn(route=lambda _: self.receiver.url)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS")} | {
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": aws.url,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            **self.openai.environment,
        }

    def deploy(self, **parameters: str) -> None:
        """Deploy the receiver. `parameters` differ from those of a healthy stack."""
        healthy = {"Alarms": "enabled", "AlarmTopicArn": self._topic, "ArchiveRetentionDays": "14"}
        self.receiver = self.aws.deploy("openai-webhooks", self._checkout, **healthy | parameters)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command on a machine whose clock is wrong by `clock_error` seconds."""
        command = [COMMAND, *arguments]
        if self.clock_error:
            wrong_clock = f"import time; right = time.time; time.time = lambda: right() + {self.clock_error}"
            start = "from openai_webhooks_cli.entry_point import run; run()"
            command = [sys.executable, "-c", f"{wrong_clock}; {start}", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120, check=False)

    def records(self, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
        """Run a command with --json and return its records."""
        result = self.run(*arguments, "--json")
        assert result.returncode == status, result.stdout + result.stderr
        return [json.loads(line) for line in result.stdout.splitlines()]

    @property
    def signing_secrets(self) -> list[str]:
        """The secrets that OpenAI can sign with, the newest first."""
        [signing_secrets] = self.openai.secrets.values()
        return signing_secrets

    def rule(self, part: str) -> str:
        """Return the name of the example's rule that contains a text."""
        rules = self.aws.client("events").list_rules(EventBusName=BUS)["Rules"]
        [name] = [rule["Name"] for rule in rules if part in rule["Name"]]
        return str(name)

    def codes(self, *options: str, status: int = 1) -> set[str]:
        """Return the codes of doctor's findings."""
        return {record["code"] for record in self.records("doctor", *options, status=status) if record.get("code")}


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    with ministack() as aws:
        yield aws


@pytest.fixture(scope="module")
def commands(aws: Ministack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    commands = Commands(aws, built_checkout(aws, tmp_path_factory.mktemp("checkout"), "subscriber"))
    with commands.openai:
        yield commands


@pytest.fixture(autouse=True)
def no_leftovers(aws: Ministack) -> Iterator[None]:
    yield
    rules = aws.client("events").list_rules(EventBusName=BUS)["Rules"]
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
    answers = [new_delivery("batch.failed", secret=secret).post(commands.receiver.url)[0] for secret in (old, new)]
    early = commands.run("endpoint", "rotate", "--finish")
    finished = commands.records("endpoint", "rotate", "--finish", "--yes")
    commands.receiver.start_new_instances("ReceiverFunction")
    later = [new_delivery("batch.failed", secret=secret).post(commands.receiver.url)[0] for secret in (old, new)]

    assert [record["type"] for record in rotated] == ["rotated", "answered", "arrived"]
    assert kept == old
    assert answers == [200, 200]
    assert early.returncode == 2
    assert finished[-1]["changed"]
    assert later == [401, 200]


def test_doctor_finds_nothing_in_healthy_stack(commands: Commands) -> None:
    assert commands.codes("--strict", status=0) == set()


def test_probe_follows_delivery_to_bus(commands: Commands) -> None:
    findings = commands.records("doctor", "--probe", "--yes")

    [probe] = [finding for finding in findings if finding.get("check") == "probe"]
    assert probe["severity"] == "ok"


def test_status_has_last_delivery(commands: Commands) -> None:
    [status] = commands.records("status")

    assert status["last_delivery"]["outcome"] == "Published"


# ---- Planted faults: each puts one thing wrong, and back in order at its end ----


@contextmanager
def placeholder_secret(commands: Commands) -> Iterator[None]:
    with stored_secret(commands, "Placeholder until the signing secret is stored."):
        yield


@contextmanager
def wrong_secret(commands: Commands) -> Iterator[None]:
    with stored_secret(commands, samples.new_secret()):
        yield


@contextmanager
def stored_secret(commands: Commands, text: str) -> Iterator[None]:
    client, secret = commands.aws.client("secretsmanager"), commands.receiver.id_of("SigningSecret")
    right = client.get_secret_value(SecretId=secret, VersionStage="AWSCURRENT")["SecretString"]
    client.put_secret_value(SecretId=secret, SecretString=text)
    yield
    client.put_secret_value(SecretId=secret, SecretString=right)


@contextmanager
def disabled_rule(commands: Commands) -> Iterator[None]:
    events = commands.aws.client("events")
    rule = {"Name": commands.rule("OnBatch"), "EventBusName": BUS}
    events.disable_rule(**rule)
    yield
    events.enable_rule(**rule)


@contextmanager
def unhandled_type(commands: Commands) -> Iterator[None]:
    commands.run("endpoint", "update", "--add", "video.completed")
    yield
    commands.run("endpoint", "update", "--remove", "video.completed")


@contextmanager
def rule_that_matches_nothing(commands: Commands) -> Iterator[None]:
    events = commands.aws.client("events")
    rule = {"Name": "never", "EventBusName": BUS}
    events.put_rule(**rule, EventPattern='{"source": ["openai.com"], "detail-type": ["batch.complete"]}')
    yield
    events.delete_rule(**rule)


@contextmanager
def dead_letter(commands: Commands) -> Iterator[None]:
    sqs, queue = commands.aws.client("sqs"), commands.subscriber.id_of("OnBatchDeadLetters")
    sqs.send_message(QueueUrl=queue, MessageBody="{}")
    yield
    sqs.purge_queue(QueueUrl=queue)


@contextmanager
def no_archive(commands: Commands) -> Iterator[None]:
    commands.deploy(ArchiveRetentionDays="0")
    yield
    commands.deploy()


@contextmanager
def silent_alarm(commands: Commands) -> Iterator[None]:
    cloudwatch, names = commands.aws.client("cloudwatch"), [commands.receiver.id_of("ErrorAlarm")]
    cloudwatch.disable_alarm_actions(AlarmNames=names)
    yield
    cloudwatch.enable_alarm_actions(AlarmNames=names)


@contextmanager
def endpoint_at_other_url(commands: Commands) -> Iterator[None]:
    [endpoint] = commands.openai.endpoints.values()
    url = endpoint["url"]
    endpoint["url"] = "https://old.example.com/webhooks/openai"
    yield
    endpoint["url"] = url


@contextmanager
def two_endpoints(commands: Commands) -> Iterator[None]:
    [endpoint] = commands.openai.endpoints.values()
    second = commands.openai.register(endpoint["url"], event_types=endpoint["event_types"])
    yield
    del commands.openai.endpoints[second]


@contextmanager
def leftover_session(commands: Commands) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in commands.environment.items():
            patch.setenv(name, value)
        stack = read_stack(Session(region=REGION, endpoint_url=commands.aws.url), "openai-webhooks")
        stack.clock_skew -= LEASE + 60
        abandoned = Tap(stack, [{"source": ["openai.com"]}])
        abandoned.create()
        yield
        abandoned.close()


@contextmanager
def slow_clock(commands: Commands) -> Iterator[None]:
    commands.clock_error = -120
    yield
    commands.clock_error = 0


FAULTS: Final = {
    "E_SECRET_PLACEHOLDER": placeholder_secret,
    "E_SECRET_MISMATCH": wrong_secret,
    "W_RULE_DISABLED": disabled_rule,
    "W_UNHANDLED": unhandled_type,
    "W_RULE_NOTHING": rule_that_matches_nothing,
    "W_DEAD_LETTERS": dead_letter,
    "W_ARCHIVE": no_archive,
    "E_URL": endpoint_at_other_url,
    "E_ENDPOINT_TWICE": two_endpoints,
    "W_LEFTOVERS": leftover_session,
    "W_ALARM_ACTION": silent_alarm,
    "W_CLOCK": slow_clock,
}


@pytest.mark.parametrize("code", FAULTS)
def test_doctor_finds_planted_fault(commands: Commands, code: str) -> None:
    with FAULTS[code](commands):
        found = commands.codes("--strict")

    assert code in found
    assert found <= {code, *ALSO.get(code, ())}


def test_doctor_finds_nothing_after_faults(commands: Commands) -> None:
    assert commands.codes("--strict", status=0) == set()
