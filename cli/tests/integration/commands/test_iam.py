"""`openai-webhooks iam`: each command calls only what its policy allows, and a policy allows nothing else."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, Final

import pytest
import typer
from botocore.exceptions import ClientError

from cli.tests.support.aws_calls import AwsCall, AwsFaults, record_calls
from cli.tests.support.deployed_receiver import STACK, DeployedReceiver
from cli.tests.support.event_archive import EventArchive
from cli.tests.support.failed_subscriber import Subscriber
from cli.tests.support.openai_stand_in import EndpointsStandIn
from openai_webhooks_cli.aws import stack
from openai_webhooks_cli.aws.tap import PROBE_SOURCE, Tap
from openai_webhooks_cli.commands import doctor_checks
from openai_webhooks_cli.commands.iam_policies import COMMANDS, POLICIES
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION
from openai_webhooks_cli.main import app

SERVICES: Final = {"monitoring": "cloudwatch"}
OPERATIONS: Final = {
    "Invoke": "InvokeFunction",
    "DeleteMessageBatch": "DeleteMessage",
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility",
}
"""IAM's names, where they are not those of the API."""
PUBLIC: Final = {"sts:GetCallerIdentity"}
"""Actions that need no permission."""
ALARM: Final = f"{STACK}-RefusedAlarm-1"
MATCHED: Final = {"source": ["openai.com"], "detail-type": ["batch.completed"]}


class World:
    """A stack with everything that the commands read, and the calls of each command to AWS."""

    def __init__(self, receiver: DeployedReceiver, archive: EventArchive, openai: EndpointsStandIn) -> None:
        self.receiver = receiver
        self.openai = openai
        self.event_id: str = archive.publish()["id"]
        self.calls: dict[str, list[AwsCall]] = {name: [] for name in COMMANDS}
        self.faults: dict[str, str] = {}
        """By operation: the error code of its next call."""

    def run(self, line: str) -> None:
        """Run a command."""
        arguments, _, status = line.replace("EVENT", self.event_id).partition(" -> ")
        with self.recorded(next(name for name in COMMANDS if line.startswith(name))):
            result = self.receiver.run(*arguments.split())
        assert result.exit_code == int(status or 0), result.output

    @contextmanager
    def recorded(self, command: str) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            calls = record_calls(patch, self._fail)
            yield
        self.calls[command] += calls

    def _fail(self, call: AwsCall) -> None:
        if code := self.faults.pop(call.operation, None):
            raise ClientError({"Error": {"Code": code, "Message": "on purpose"}}, call.operation)


@pytest.fixture
def world(
    receiver: DeployedReceiver,
    subscriber: Subscriber,
    archive: EventArchive,
    openai: EndpointsStandIn,
    monkeypatch: pytest.MonkeyPatch,
) -> World:
    subscriber.sqs.create_queue(QueueName="inbox")
    subscriber.add_rule("to-queue", f"arn:aws:sqs:{REGION}:{ACCOUNT}:inbox")
    for rule in ("orders", "to-queue", "removed"):
        subscriber.add_letter(rule)
    add_alarm(receiver, monkeypatch)
    logs, group = receiver.client("logs"), receiver.stack.physical_id("ReceiverLog")
    logs.create_log_stream(logGroupName=group, logStreamName="stream")
    line = {"timestamp": int(time.time() * 1000), "message": json.dumps({"outcome": "Published"})}
    logs.put_log_events(logGroupName=group, logStreamName="stream", logEvents=[line])
    return World(receiver, archive, openai)


def add_alarm(receiver: DeployedReceiver, patch: pytest.MonkeyPatch) -> None:
    """Let the commands ask for an alarm and its topic. moto's CloudFormation creates none."""
    read_stack = stack.read_stack
    topic = receiver.client("sns").create_topic(Name=f"{STACK}-AlarmTopic-1")["TopicArn"]

    def read_stack_with_alarm(session: stack.Session, name: str) -> stack.Stack:
        found = read_stack(session, name)
        found.resources["RefusedAlarm"] = stack.Resource("AWS::CloudWatch::Alarm", ALARM)
        found.resources["AlarmTopic"] = stack.Resource("AWS::SNS::Topic", topic)
        # With a function of the receiver, this is not the embedded AWS of `dev`.
        found.resources["ReceiverFunction"] = stack.Resource("AWS::Lambda::Function", "receiver")
        return found

    patch.setattr(stack, "read_stack", read_stack_with_alarm)
    patch.setattr(doctor_checks, "_INGRESS_TIMEOUT", 0.1)


# ---- What the commands do ----


def leave_session(world: World) -> None:
    """Create the rule of a session that crashed, and the queue of another one."""
    prefix, receiver = f"{STACK}-listen-user-", world.receiver
    pattern = json.dumps({"source": [PROBE_SOURCE]})
    receiver.client("events").put_rule(Name=f"{prefix}00000001", EventBusName=receiver.bus, EventPattern=pattern)
    receiver.client("sqs").create_queue(QueueName=f"{prefix}00000002")


def fail_next_queue(world: World) -> None:
    world.faults = {"CreateQueue": "InternalError"}


def restore_session(world: World) -> None:
    """Do what `listen` does after an interruption."""
    with world.recorded("listen"):
        tap = Tap(world.receiver.stack, [MATCHED])
        tap.create()
        tap.restore()
        tap.close()


STEPS: Final[list[str | Callable[[World], None]]] = [
    "listen --since=2h --max=1",
    "listen --rule=orders --for=1s",
    # Without its queue, a tap has to find out whether the queue exists.
    fail_next_queue,
    "listen --for=1s -> 2",
    restore_session,
    "show EVENT",
    "show evt_unknown -> 1",
    "replay EVENT",
    "replay --since=2h --to=orders",
    "rules",
    "status",
    "dead-letters list",
    "dead-letters show",
    "endpoint create --handled --replace-secret",
    "endpoint list",
    "endpoint update --handled --url=auto",
    "endpoint test batch.completed",
    "endpoint rotate --replace-secret",
    "endpoint rotate --finish --yes",
    leave_session,
    "doctor --probe --yes -> 1",
    "listen --clean --yes",
    "endpoint delete --yes",
    "dead-letters redrive --yes -> 1",
    "iam",
]
"""Command lines, with their exit status if it is not 0, and what is done between them."""


# ---- Policies ----


def policy(receiver: DeployedReceiver, *words: str, **environment: str) -> list[dict[str, Any]]:
    """Return the statements of the policy that the command prints."""
    result = receiver.run("iam", *words, **environment)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["Version"] == "2012-10-17"
    return document["Statement"]  # type: ignore[no-any-return]


def needed(call: AwsCall, bus: str) -> Iterator[tuple[str, str]]:
    """Yield each action that IAM has to allow for a call, with its resource."""
    service = SERVICES.get(call.service, call.service)
    operations = [OPERATIONS.get(call.operation, call.operation)]
    if "tags" in call.parameters:
        operations.append("TagQueue")
    for operation in operations:
        for name in resources(call.parameters, bus):
            is_whole = name == "*" or name.startswith("arn:")
            yield f"{service}:{operation}", name if is_whole else f"arn:aws:{service}:{REGION}:{ACCOUNT}:{name}"


def resources(parameters: dict[str, Any], bus: str) -> list[str]:
    """Return the resources of a call: whole ARNs, or the ends of ARNs."""
    found: dict[str, Callable[[Any], list[str]]] = {
        "StackName": lambda name: [f"stack/{name}/8a2c"],
        "QueueUrl": lambda url: [url.rpartition("/")[2]],
        "QueueName": lambda name: [name],
        "FunctionName": lambda arn: [arn],
        "SecretId": lambda arn: [arn],
        "logStreamName": lambda name: [f"log-group:{parameters['logGroupName']}:log-stream:{name}"],
        "logGroupName": lambda name: [f"log-group:{name}"],
        "TopicArn": lambda arn: [arn],
        "AlarmNames": lambda names: [f"alarm:{name}" for name in names],
        "EventSourceArn": lambda arn: [arn, parameters["Destination"]["Arn"], f"replay/{parameters['ReplayName']}"],
        "ReplayName": lambda name: [f"replay/{name}"],
        "ArchiveName": lambda name: [f"archive/{name}"],
        "Rule": lambda name: [f"rule/{bus}/{name}"],
        "Name": lambda name: [f"rule/{bus}/{name}"],
        "Entries": lambda entries: [f"event-bus/{entry['EventBusName']}" for entry in entries if "Source" in entry],
    }
    return next((read(parameters[key]) for key, read in found.items() if key in parameters), ["*"])


def is_allowed(statements: list[dict[str, Any]], action: str, resource: str) -> bool:
    return any(
        action in statement["Action"] and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        for statement in statements
    )


def test_policies_allow_what_their_commands_call_and_nothing_else(world: World) -> None:
    for step in STEPS:
        step(world) if callable(step) else world.run(step)

    statements = {name: policy(world.receiver, name) for name in POLICIES}
    used: dict[str, set[str]] = {name: set() for name in POLICIES}
    for name, calls in world.calls.items():
        for action, resource in {need for call in calls for need in needed(call, world.receiver.bus)}:
            allowing = [policy for policy in COMMANDS[name] if is_allowed(statements[policy], action, resource)]
            assert allowing or action in PUBLIC, (name, action, resource)
            for allowed in allowing:
                used[allowed].add(action)
    assert {name: actions(statements[name]) for name in POLICIES} == used


def actions(statements: list[dict[str, Any]]) -> set[str]:
    return {action for statement in statements for action in statement["Action"]}


def test_every_command_has_policy() -> None:
    group = typer.main.get_command(app)
    commands = {
        f"{name} {sub}".strip(): command
        for name, command in group.commands.items()  # type: ignore[attr-defined]
        for sub in getattr(command, "commands", {"": None})
    }

    assert COMMANDS.keys() == {name for name, it in commands.items() if it.rich_help_panel == "Deployed stack"}


def test_policies_allow_no_more_than_needed(receiver: DeployedReceiver) -> None:
    everything = policy(receiver)

    assert not [action for action in actions(everything) if "*" in action]
    # These actions do not support resources, or list them.
    assert actions([statement for statement in everything if "*" in statement["Resource"]]) == {
        "cloudformation:DescribeStacks",
        "cloudwatch:DescribeAlarmsForMetric",
        "cloudwatch:GetMetricData",
        "events:ListRules",
        "events:TestEventPattern",
        "sqs:ListQueues",
    }
    [probes] = [statement for statement in everything if "events:PutEvents" in statement["Action"]]
    assert probes["Action"] == ["events:PutEvents"]
    assert probes["Condition"] == {"StringEquals": {"events:source": PROBE_SOURCE}}


def test_command_and_group_have_policies_that_they_need(receiver: DeployedReceiver) -> None:
    [line] = receiver.run("iam", "listen", "--json").stdout.splitlines()
    read, listen = actions(policy(receiver, "read")), actions(json.loads(line)["Statement"])

    assert actions(policy(receiver, "doctor")) == read | listen
    assert actions(policy(receiver, "dead-letters")) == actions(policy(receiver, "dead-letters", "redrive"))
    assert actions(policy(receiver, "endpoint")) == actions(policy(receiver))


def test_unknown_command_cannot_run(receiver: DeployedReceiver) -> None:
    result = receiver.run("iam", "dead-letter")

    assert (result.exit_code, result.stdout) == (2, "")
    assert all(name in result.stderr for name in [*POLICIES, *COMMANDS])


def test_denied_stack_has_assumed_names(receiver: DeployedReceiver, faults: AwsFaults) -> None:
    faults.fail("DescribeStacks", "AccessDenied")

    result = receiver.run("iam", "listen", "--stack=other")

    assert result.exit_code == 0
    resources = {arn for statement in json.loads(result.stdout)["Statement"] for arn in statement["Resource"]}
    assert f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/other" in resources
    assert f"arn:aws:sqs:{REGION}:{ACCOUNT}:other-listen-*" in resources
    assert "DescribeStacks" in result.stderr


def test_without_credentials_account_is_placeholder(
    receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack.Session, "_is_dev", lambda _: False)

    [first, *_] = policy(receiver, "listen", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")

    assert first["Resource"] == [f"arn:aws:cloudformation:{REGION}:ACCOUNT:stack/{STACK}/*"]


@pytest.mark.parametrize("operation", ["ListRules", "GetFunctionConfiguration"])
def test_denied_rules_allow_all_functions_and_queues(
    receiver: DeployedReceiver, subscriber: Subscriber, faults: AwsFaults, operation: str
) -> None:
    faults.fail(operation, "AccessDenied")

    statements = policy(receiver, "dead-letters", "redrive")

    [invoke] = [statement for statement in statements if "lambda:InvokeFunction" in statement["Action"]]
    assert invoke["Resource"] == [f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:*"]


def test_denied_command_names_its_policy(receiver: DeployedReceiver, faults: AwsFaults) -> None:
    faults.fail("ListRules", "AccessDenied")
    result = receiver.run("dead-letters", "list")

    assert result.exit_code == 2
    [name] = re.findall(r"openai-webhooks iam ([\w -]+)", result.stderr)
    assert "events:ListRules" in actions(policy(receiver, *name.split()))
