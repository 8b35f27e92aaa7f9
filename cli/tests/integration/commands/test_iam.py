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
from cli.tests.support.event_archive import EventArchive, event_archive
from cli.tests.support.failed_subscriber import Subscriber
from cli.tests.support.openai_stand_in import EndpointsStandIn
from openai_webhooks_cli.aws import stack
from openai_webhooks_cli.aws.tap import PROBE_SOURCE, Tap
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
ALARM: Final = f"{STACK}-ErrorAlarm-1"
MATCHED: Final = {"source": ["openai.com"], "detail-type": ["batch.completed"]}


class World:
    """A stack with everything that the commands read, and what they call."""

    def __init__(
        self,
        receiver: DeployedReceiver,
        subscriber: Subscriber,
        archive: EventArchive,
        openai: EndpointsStandIn,
    ) -> None:
        self.receiver = receiver
        self.subscriber = subscriber
        self.archive = archive
        self.openai = openai
        self.calls: list[AwsCall] = []
        self.event_id = ""
        self.faults: dict[str, str] = {}
        """By operation: the error code of its next call."""

    def run(self, line: str) -> None:
        """Run a command, and record its calls."""
        arguments, _, status = line.replace("EVENT", self.event_id).partition(" -> ")
        with pytest.MonkeyPatch.context() as patch:
            calls = record_calls(patch, self._fail)
            result = self.receiver.run(*arguments.split())
        self.calls += calls
        assert result.exit_code == int(status or 0), result.output

    def fail_next_queue(self) -> None:
        self.faults = {"CreateQueue": "InternalError"}

    def leave_session(self) -> None:
        """Create the rule of a session that crashed, and the queue of another one."""
        prefix = f"{STACK}-listen-user-"
        self.receiver.client("events").put_rule(
            Name=f"{prefix}00000001",
            EventBusName=self.receiver.bus,
            EventPattern=json.dumps({"source": [PROBE_SOURCE]}),
        )
        self.receiver.client("sqs").create_queue(QueueName=f"{prefix}00000002")

    def _fail(self, call: AwsCall) -> None:
        if code := self.faults.pop(call.operation, None):
            raise ClientError({"Error": {"Code": code, "Message": "on purpose"}}, call.operation)


@contextmanager
def new_world(receiver: DeployedReceiver, openai: EndpointsStandIn) -> Iterator[World]:
    receiver.reset()
    openai.endpoints.clear()
    with pytest.MonkeyPatch.context() as patch:
        add_alarm(receiver, patch)
        yield World(receiver, Subscriber(receiver), event_archive(receiver, patch), openai)


@pytest.fixture
def world(receiver: DeployedReceiver, openai: EndpointsStandIn) -> Iterator[World]:
    with new_world(receiver, openai) as world:
        yield world


def add_alarm(receiver: DeployedReceiver, patch: pytest.MonkeyPatch) -> None:
    """Add an alarm to the stack. moto's CloudFormation creates none."""
    read_stack = stack.read_stack

    def read_stack_with_alarm(session: stack.Session, name: str) -> stack.Stack:
        found = read_stack(session, name)
        found.resources["ErrorAlarm"] = stack.Resource("AWS::CloudWatch::Alarm", ALARM)
        return found

    patch.setattr(stack, "read_stack", read_stack_with_alarm)
    receiver.client("cloudwatch").put_metric_alarm(
        AlarmName=ALARM,
        Namespace=STACK,
        MetricName="Published",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=0,
        ComparisonOperator="GreaterThanThreshold",
    )


# ---- What the commands do ----


def register(world: World) -> None:
    """Register the stack's URL at OpenAI, and store the signing secret."""
    endpoint_id = world.openai.register(world.receiver.receiver.outputs["WebhookUrl"])
    world.receiver.client("secretsmanager").put_secret_value(
        SecretId=world.receiver.secret_arn, SecretString=world.openai.secrets[endpoint_id][0]
    )


def log_delivery(world: World) -> None:
    logs, group = world.receiver.client("logs"), world.receiver.stack.physical_id("ReceiverLog")
    logs.create_log_stream(logGroupName=group, logStreamName="stream")
    line = {"timestamp": int(time.time() * 1000), "message": json.dumps({"outcome": "Published"})}
    logs.put_log_events(logGroupName=group, logStreamName="stream", logEvents=[line])


def archive_event(world: World) -> None:
    world.event_id = world.archive.publish()["id"]


def put_dead_letters(world: World) -> None:
    world.subscriber.add_rule("to-queue", f"arn:aws:sqs:{REGION}:{ACCOUNT}:OnFailureFunctionInbox")
    for rule in ("orders", "to-queue", "removed"):
        world.subscriber.add_letter(rule)


def restore_session(world: World) -> None:
    """Do what `listen` does after an interruption."""
    with pytest.MonkeyPatch.context() as patch:
        calls = record_calls(patch)
        tap = Tap(world.receiver.stack, [MATCHED])
        tap.create()
        tap.restore()
        tap.close()
    world.calls += calls


RUNS: Final[dict[str, list[str | Callable[[World], None]]]] = {
    "listen": [
        archive_event,
        "listen --since=2h --max=1",
        "listen --rule=orders --for=1s",
        World.leave_session,
        "listen --clean --yes",
        # Without its queue, a tap has to find out whether the queue exists.
        World.fail_next_queue,
        "listen --for=1s -> 2",
        restore_session,
    ],
    "show": [archive_event, "show EVENT", "show evt_unknown -> 1"],
    "replay": [archive_event, "replay EVENT", "replay --since=2h --to=orders"],
    "rules": ["rules"],
    "dead-letters list": [put_dead_letters, "dead-letters list"],
    "dead-letters show": [put_dead_letters, "dead-letters show"],
    "dead-letters redrive": [put_dead_letters, "dead-letters redrive --yes -> 1"],
    "endpoint create": ["endpoint create --handled --replace-secret"],
    "endpoint list": ["endpoint list"],
    "endpoint update": [register, "endpoint update --handled --url=auto"],
    "endpoint test": [register, "endpoint test batch.completed"],
    "endpoint rotate": [register, "endpoint rotate --replace-secret", "endpoint rotate --finish --yes"],
    "endpoint delete": [register, "endpoint delete --yes"],
    "status": [log_delivery, put_dead_letters, "status"],
    "doctor": [log_delivery, register, put_dead_letters, World.leave_session, "doctor --probe --yes"],
    "iam": ["iam"],
}
"""By command: what is done before, and the command lines with their exit status."""


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


def test_policies_allow_what_their_commands_call_and_nothing_else(
    receiver: DeployedReceiver, openai: EndpointsStandIn
) -> None:
    called: dict[str, set[str]] = {name: set() for name in POLICIES}
    for name, steps in RUNS.items():
        with new_world(receiver, openai) as world:
            for step in steps:
                step(world) if callable(step) else world.run(step)
            statements = {name: policy(receiver, name) for name in POLICIES}
        receiver.reset()
        for action, resource in {found for call in world.calls for found in needed(call, receiver.bus)}:
            allowing = [policy for policy in COMMANDS[name] if is_allowed(statements[policy], action, resource)]
            assert allowing or action in PUBLIC, (name, action, resource)
            for allowed in allowing:
                called[allowed].add(action)

    assert [name for name in POLICIES if actions(statements[name]) != called[name]] == []


def actions(statements: list[dict[str, Any]]) -> set[str]:
    return {action for statement in statements for action in statement["Action"]}


def known_commands() -> set[str]:
    """Return the commands for a deployed stack that the program has."""
    group = typer.main.get_command(app)
    names = {
        f"{name} {sub}".strip(): command
        for name, command in group.commands.items()  # type: ignore[attr-defined]
        for sub in getattr(command, "commands", {"": None})
    }
    return {name for name, command in names.items() if command.rich_help_panel == "Deployed stack"}


def test_every_command_has_policy() -> None:
    assert COMMANDS.keys() == known_commands()


def test_policy_has_no_wildcard_in_action(receiver: DeployedReceiver) -> None:
    assert not [action for action in actions(policy(receiver)) if "*" in action]


def test_wildcard_resource_is_only_for_actions_without_resources(receiver: DeployedReceiver) -> None:
    anywhere = [statement for statement in policy(receiver) if "*" in statement["Resource"]]

    assert actions(anywhere) == {
        "cloudwatch:GetMetricData",
        "events:ListRules",
        "events:TestEventPattern",
        "sqs:ListQueues",
    }


def test_events_can_be_put_only_as_probes(receiver: DeployedReceiver) -> None:
    for statement in policy(receiver):
        if "events:PutEvents" in statement["Action"]:
            assert statement["Action"] == ["events:PutEvents"]
            assert statement["Condition"] == {"StringEquals": {"events:source": PROBE_SOURCE}}


def test_command_and_group_have_policies_that_they_need(receiver: DeployedReceiver) -> None:
    read, listen = actions(policy(receiver, "read")), actions(policy(receiver, "listen"))

    assert actions(policy(receiver, "doctor")) == read | listen
    assert actions(policy(receiver, "dead-letters")) == actions(policy(receiver, "dead-letters", "redrive"))
    assert actions(policy(receiver, "endpoint")) == actions(policy(receiver))


def test_json_is_one_line(receiver: DeployedReceiver) -> None:
    [line] = receiver.run("iam", "listen", "--json").stdout.splitlines()

    assert json.loads(line)["Statement"] == policy(receiver, "listen")


def test_unknown_command_cannot_run(receiver: DeployedReceiver) -> None:
    result = receiver.run("iam", "dead-letter", "redrive")

    assert result.exit_code == 2
    assert result.stdout == ""
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
    monkeypatch.setattr(stack.Session, "_finds_dev", lambda _: False)

    [first, *_] = policy(receiver, "listen", AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")

    assert first["Resource"] == [f"arn:aws:cloudformation:{REGION}:ACCOUNT:stack/{STACK}/*"]


@pytest.mark.parametrize("operation", ["ListRules", "GetFunctionConfiguration"])
def test_denied_rules_allow_all_functions_and_queues(world: World, faults: AwsFaults, operation: str) -> None:
    faults.fail(operation, "AccessDenied")

    statements = policy(world.receiver, "dead-letters", "redrive")

    [invoke] = [statement for statement in statements if "lambda:InvokeFunction" in statement["Action"]]
    assert invoke["Resource"] == [f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:*"]


def test_denied_command_names_its_policy(receiver: DeployedReceiver, faults: AwsFaults) -> None:
    faults.fail("ListRules", "AccessDenied")
    result = receiver.run("dead-letters", "list")

    assert result.exit_code == 2
    [name] = re.findall(r"openai-webhooks iam ([\w -]+)", result.stderr)
    assert "events:ListRules" in actions(policy(receiver, *name.split()))
