"""`openai-webhooks iam`: each command calls only what its policy allows, and a policy allows nothing else."""

import json
import re
import time
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from typing import Any, Final

import pytest
import typer
from botocore.exceptions import ClientError
from typer.testing import Result

from cli.tests.support.aws_calls import AwsCall, AwsFaults, record_calls
from cli.tests.support.deployed_receiver import STACK, DeployedReceiver
from cli.tests.support.event_archive import EventArchive, event_archive
from cli.tests.support.failed_subscriber import Subscriber
from cli.tests.support.openai_stand_in import OpenAIStandIn
from openai_webhooks_cli.aws import stack
from openai_webhooks_cli.aws.tap import PROBE_SOURCE
from openai_webhooks_cli.commands.iam import COMMANDS
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
        openai: OpenAIStandIn,
    ) -> None:
        self.receiver = receiver
        self.subscriber = subscriber
        self.archive = archive
        self.openai = openai
        self.calls: list[AwsCall] = []
        self.faults: dict[str, str] = {}
        """By operation: the error code of its next call."""

    def run(self, *arguments: str, status: int = 0) -> Result:
        """Run a command, and record its calls."""
        with pytest.MonkeyPatch.context() as patch:
            calls = record_calls(patch, self._fail)
            result = self.receiver.run(*arguments)
        self.calls += calls
        assert result.exit_code == status, result.output
        return result

    def run_without_tap(self, *arguments: str, status: int = 2) -> None:
        """Run a command whose tap cannot be created, so that it has to find out whether the queue exists."""
        self.faults = {"CreateQueue": "InternalError"}
        self.run(*arguments, status=status)

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


@pytest.fixture
def world(receiver: DeployedReceiver, openai: OpenAIStandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    subscriber = Subscriber(receiver)
    with event_archive(receiver, monkeypatch) as archive:
        add_alarm(receiver, monkeypatch)
        yield World(receiver, subscriber, archive, openai)
    subscriber.remove()


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


# ---- What each command does ----


def listen(world: World) -> None:
    world.archive.publish()
    world.run("listen", "--since=2h", "--max=1")
    world.run("listen", "--rule=orders", "--for=1s")
    world.leave_session()
    world.run("listen", "--clean", "--yes")
    world.run_without_tap("listen", "--for=1s")


def show(world: World) -> None:
    world.run("show", world.archive.publish()["id"])
    world.run("show", "evt_unknown", status=1)
    world.run_without_tap("show", world.archive.publish()["id"])


def replay(world: World) -> None:
    event = world.archive.publish()["id"]
    world.run("replay", event)
    world.run("replay", "evt_unknown", status=1)
    world.run("replay", "--since=2h", "--to=orders")
    world.run_without_tap("replay", event)


def rules(world: World) -> None:
    world.run("rules")


def dead_letters_list(world: World) -> None:
    world.subscriber.add_letter()
    world.run("dead-letters", "list")


def dead_letters_show(world: World) -> None:
    world.subscriber.add_letter()
    world.run("dead-letters", "show")


def dead_letters_redrive(world: World) -> None:
    inbox = world.subscriber.sqs.get_queue_url(QueueName="OnCallFunctionInbox")["QueueUrl"]
    world.subscriber.add_rule("to-queue", f"arn:aws:sqs:{REGION}:{ACCOUNT}:OnCallFunctionInbox")
    for rule in ("orders", "to-queue", "removed"):
        world.subscriber.add_letter(rule)
    world.run("dead-letters", "redrive", "--yes", status=1)
    world.subscriber.sqs.purge_queue(QueueUrl=inbox)


def endpoint_create(world: World) -> None:
    world.run("endpoint", "create", "--handled", "--replace-secret")
    world.run("endpoint", "delete", "--yes")
    world.run_without_tap("endpoint", "create", "--handled", "--replace-secret")


def endpoint_list(world: World) -> None:
    world.run("endpoint", "list")


def endpoint_update(world: World) -> None:
    register(world)
    world.run("endpoint", "update", "--handled", "--url=auto")


def endpoint_test(world: World) -> None:
    register(world)
    world.run("endpoint", "test", "batch.completed")
    world.run_without_tap("endpoint", "test", "batch.completed")


def endpoint_rotate(world: World) -> None:
    register(world)
    world.run("endpoint", "rotate", "--replace-secret")
    world.run("endpoint", "rotate", "--finish", "--yes")
    world.run_without_tap("endpoint", "rotate", "--replace-secret")


def endpoint_delete(world: World) -> None:
    register(world)
    world.run("endpoint", "delete", "--yes")


def status(world: World) -> None:
    log_delivery(world)
    world.subscriber.add_letter()
    world.run("status")


def doctor(world: World) -> None:
    log_delivery(world)
    register(world)
    world.subscriber.add_letter()
    world.leave_session()
    [arrival_rule] = [
        rule["Name"]
        for rule in world.receiver.client("events").list_rules(EventBusName=world.receiver.bus)["Rules"]
        if "ArrivalRule" in rule["Name"]
    ]
    world.receiver.client("events").disable_rule(Name=arrival_rule, EventBusName=world.receiver.bus)
    world.run("doctor", "--probe", "--yes")
    world.run_without_tap("doctor", "--probe", "--yes", status=0)
    world.receiver.run("listen", "--clean", "--yes")


def iam(world: World) -> None:
    world.run("iam")


def register(world: World) -> None:
    """Register the stack's URL at OpenAI, and store the signing secret."""
    endpoint_id = world.openai.register(world.receiver.receiver.outputs["WebhookUrl"])
    world.receiver.client("secretsmanager").put_secret_value(
        SecretId=world.receiver.secret_arn, SecretString=world.openai.secrets[endpoint_id][0]
    )


def log_delivery(world: World) -> None:
    logs, group = world.receiver.client("logs"), world.receiver.stack.physical_id("ReceiverLog")
    stream = str(time.time())
    logs.create_log_stream(logGroupName=group, logStreamName=stream)
    line = {"timestamp": int(time.time() * 1000), "message": json.dumps({"outcome": "Published"})}
    logs.put_log_events(logGroupName=group, logStreamName=stream, logEvents=[line])


RUNS: Final[dict[str, Callable[[World], None]]] = {
    "listen": listen,
    "show": show,
    "replay": replay,
    "rules": rules,
    "endpoint create": endpoint_create,
    "endpoint list": endpoint_list,
    "endpoint update": endpoint_update,
    "endpoint test": endpoint_test,
    "endpoint rotate": endpoint_rotate,
    "endpoint delete": endpoint_delete,
    "status": status,
    "doctor": doctor,
    "dead-letters list": dead_letters_list,
    "dead-letters show": dead_letters_show,
    "dead-letters redrive": dead_letters_redrive,
    "iam": iam,
}


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
    return action in PUBLIC or any(
        action in statement["Action"] and any(fnmatchcase(resource, pattern) for pattern in statement["Resource"])
        for statement in statements
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_policy_is_least(world: World, name: str) -> None:
    RUNS[name](world)

    statements = policy(world.receiver, *name.split())
    calls = {found for call in world.calls for found in needed(call, world.receiver.bus)}

    assert {call for call in calls if not is_allowed(statements, *call)} == set()
    allowed = {action for statement in statements for action in statement["Action"]}
    assert allowed - {action for action, _ in calls} == set()


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


def test_group_is_union_of_its_commands(receiver: DeployedReceiver) -> None:
    for group in ("endpoint", "dead-letters", ""):
        names = [name for name in COMMANDS if name.startswith(group)]
        union = {action for name in names for action in actions(policy(receiver, *name.split()))}

        assert actions(policy(receiver, *group.split())) == union


def test_json_is_one_line(receiver: DeployedReceiver) -> None:
    [line] = receiver.run("iam", "listen", "--json").stdout.splitlines()

    assert json.loads(line)["Statement"] == policy(receiver, "listen")


def test_unknown_command_cannot_run(receiver: DeployedReceiver) -> None:
    result = receiver.run("iam", "dead-letter", "redrive")

    assert result.exit_code == 2
    assert result.stdout == ""
    assert all(name in result.stderr for name in COMMANDS)


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
    [name] = re.findall(r"'openai-webhooks iam ([\w -]+)'", result.stderr)
    assert "events:ListRules" in actions(policy(receiver, *name.split()))
