"""`openai-webhooks iam`: the least IAM policy that a command needs.

The resources are those of the stack. Keys of KMS are not among them, because the stack uses none of its own. Which
actions support resources is in AWS's Service Authorization Reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

import json
from typing import Annotated, Any

import typer
from botocore.exceptions import BotoCoreError, ClientError

from openai_webhooks_cli.aws.dead_letters import is_function, read_queues
from openai_webhooks_cli.aws.rules import read_rules
from openai_webhooks_cli.aws.stack import Session, Stack
from openai_webhooks_cli.aws.tap import PROBE_SOURCE, session_prefix
from openai_webhooks_cli.shell.command import Selection, command
from openai_webhooks_cli.shell.errors import CannotRun, explain
from openai_webhooks_cli.shell.output import Output, printable

Grants = tuple[tuple[str, str], ...]
"""Pairs of a key of `_resources`, and actions separated by spaces."""

# sts:GetCallerIdentity is not here, because nobody needs a permission for it.
_STACK: Grants = (("stack", "cloudformation:DescribeStacks cloudformation:ListStackResources"),)
_RULES: Grants = (("*", "events:ListRules"), ("rules", "events:ListTargetsByRule"))
_MATCH: Grants = (("*", "events:TestEventPattern"),)
_TAP: Grants = (
    ("sessions' rules", "events:PutRule events:PutTargets events:RemoveTargets events:DeleteRule"),
    ("sessions' queues", "sqs:CreateQueue sqs:TagQueue sqs:GetQueueUrl sqs:DeleteQueue"),
    ("sessions' queues", "sqs:ReceiveMessage sqs:DeleteMessage"),
    ("bus for probes", "events:PutEvents"),
)
_SWEEP: Grants = (
    ("*", "events:ListRules sqs:ListQueues"),
    ("sessions' rules", "events:RemoveTargets events:DeleteRule"),
    ("sessions' queues", "sqs:GetQueueAttributes sqs:DeleteQueue"),
)
_REPLAY: Grants = (
    ("archive", "events:DescribeArchive"),
    ("replay", "events:StartReplay"),
    ("replays", "events:CancelReplay"),
)
_FETCH: Grants = (*_TAP, *_REPLAY, ("replays", "events:DescribeReplay"))
_DEAD_LETTERS: Grants = (
    *_RULES,
    ("functions", "lambda:GetFunctionEventInvokeConfig lambda:GetFunctionConfiguration"),
    ("dead-letter queues", "sqs:GetQueueUrl sqs:GetQueueAttributes"),
)
_LETTERS: Grants = (*_DEAD_LETTERS, ("dead-letter queues", "sqs:ReceiveMessage sqs:ChangeMessageVisibility"))
_METRICS: Grants = (("*", "cloudwatch:GetMetricData"),)
_HEALTH: Grants = (
    *_DEAD_LETTERS,
    *_METRICS,
    ("alarms", "cloudwatch:DescribeAlarms"),
    ("archive", "events:DescribeArchive"),
    ("receiver's log", "logs:DescribeLogStreams logs:GetLogEvents"),
)
_READ_SECRET: Grants = (("secret", "secretsmanager:GetSecretValue"),)
_SECRET_AGE: Grants = (("secret", "secretsmanager:ListSecretVersionIds"),)
_STORE_SECRET: Grants = (
    *_READ_SECRET,
    ("secret", "secretsmanager:PutSecretValue secretsmanager:UpdateSecretVersionStage"),
)

COMMANDS: dict[str, Grants] = {
    "listen": (*_TAP, *_SWEEP, *_REPLAY, ("rules", "events:DescribeRule")),
    "show": _FETCH,
    "replay": (*_FETCH, *_RULES),
    "rules": (*_RULES, *_MATCH),
    "endpoint create": (*_RULES, *_MATCH, *_STORE_SECRET, *_TAP),
    "endpoint list": (),
    "endpoint update": (*_RULES, *_MATCH, *_READ_SECRET),
    "endpoint test": _TAP,
    "endpoint rotate": (*_RULES, *_MATCH, *_STORE_SECRET, *_SECRET_AGE, *_TAP),
    "endpoint delete": (),
    "status": _HEALTH,
    "doctor": (
        *_HEALTH,
        *_MATCH,
        *_READ_SECRET,
        *_SECRET_AGE,
        *_SWEEP,
        *_TAP,
        ("receiver's log", "logs:FilterLogEvents"),
        ("arrival rule", "events:DescribeRule"),
    ),
    "dead-letters list": (*_DEAD_LETTERS, *_METRICS),
    "dead-letters show": _LETTERS,
    "dead-letters redrive": (
        *_LETTERS,
        ("dead-letter queues", "sqs:DeleteMessage"),
        ("functions", "lambda:InvokeFunction"),
        ("target queues", "sqs:GetQueueUrl sqs:SendMessage"),
    ),
    "iam": _DEAD_LETTERS,
}


@command("iam")
def iam(
    output: Output,
    selection: Selection,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[COMMAND]", help="The command, such as `dead-letters redrive`. By default, all."),
    ] = None,
) -> None:
    """Print the least IAM policy for a command, a group of commands such as `endpoint`, or all commands.

    It names the functions and the queues of the rules that exist now.
    Everything except the policy goes to stderr.
    """
    name = " ".join(words or [])
    grants = [
        grant
        for known, needed in COMMANDS.items()
        if not name or known == name or known.startswith(f"{name} ")
        for grant in (*_STACK, *needed)
    ]
    if not grants:
        raise CannotRun(f"There is no command {printable(name)}. Pass one of: {', '.join(COMMANDS)}")
    try:
        found = selection.find(output)
    except (CannotRun, BotoCoreError, ClientError) as error:
        reason = str(error) if isinstance(error, CannotRun) else explain(error, "iam")
        found = _assumed_stack(selection.session(), selection.stack)
        output.warning(f"{reason}\nThe stack was not read, so the policy has assumed names. Check every ARN.")
    resources = _resources(found)
    if not resources.keys() >= {key for key, _ in grants}:
        resources |= _resources_of_rules(found, output)
    policy = {"Version": "2012-10-17", "Statement": _statements(grants, resources)}
    output.line(json.dumps(policy, indent=2))
    output.record(**policy)


def _statements(grants: list[tuple[str, str]], resources: dict[str, list[str]]) -> list[dict[str, Any]]:
    """Return a statement for each set of resources."""
    actions: dict[str, set[str]] = {}
    for key, names in grants:
        actions.setdefault(key, set()).update(names.split())
    return [
        {
            "Effect": "Allow",
            "Action": sorted(names),
            "Resource": resources[key],
            **({"Condition": {"StringEquals": {"events:source": PROBE_SOURCE}}} if key == "bus for probes" else {}),
        }
        for key, names in actions.items()
        if resources[key]
    ]


def _resources(stack: Stack) -> dict[str, list[str]]:
    def arn(service: str, resource: str) -> str:
        return f"{_account(stack, service)}:{resource}"

    def name(logical_id: str) -> str:
        return stack.physical_id(logical_id) or f"{stack.name}-{logical_id}-*"

    log = arn("logs", f"log-group:{name('ReceiverLog')}")
    archive = arn("events", f"archive/{stack.physical_id('EventArchive') or '*'}")
    replays = [arn("events", f"replay/{start}-*") for start in (stack.name[:40], "listen")]
    return {
        # ListRules, TestEventPattern, ListQueues and GetMetricData do not support resources.
        "*": ["*"],
        # The last part is an id that changes when the stack is created again.
        "stack": [arn("cloudformation", f"stack/{stack.name}/*")],
        "rules": [stack.rule_arn("*")],
        # Each session has a name of its own. The user's name is in it, but not the one that IAM knows.
        "sessions' rules": [stack.rule_arn(f"{session_prefix(stack)}*")],
        "sessions' queues": [arn("sqs", f"{session_prefix(stack)}*")],
        "bus for probes": [stack.bus_arn],
        "archive": [archive],
        # Each replay has a name of its own.
        "replays": replays,
        "replay": [archive, stack.bus_arn, *replays],
        # CloudFormation ends the names of alarms with random characters.
        "alarms": [arn("cloudwatch", f"alarm:{stack.name}-*")],
        # The second one is for the streams in the log group.
        "receiver's log": [log, f"{log}:*"],
        "arrival rule": [stack.rule_arn(name("ArrivalRule").rpartition("|")[2].rpartition("/")[2])],
        "secret": [stack.outputs["SigningSecretArn"]],
    }


def _resources_of_rules(stack: Stack, output: Output) -> dict[str, list[str]]:
    """Return the functions and the queues of the rules, or all of the account if the rules cannot be read."""
    try:
        rules = read_rules(stack)
        queues = [queue.arn for queue in read_queues(stack, rules)]
    except (BotoCoreError, ClientError) as error:
        output.warning(f"The rules were not read ({type(error).__name__}), so the policy has all functions and queues.")
        any_queue = [f"{_account(stack, 'sqs')}:*"]
        return {
            "functions": [f"{_account(stack, 'lambda')}:function:*"],
            "dead-letter queues": any_queue,
            "target queues": any_queue,
        }
    targets = sorted({target.arn for rule in rules for target in rule.targets})
    return {
        "functions": [arn for arn in targets if is_function(arn)],
        "dead-letter queues": queues,
        "target queues": [arn for arn in targets if arn.split(":")[2] == "sqs" and not arn.endswith(".fifo")],
    }


def _account(stack: Stack, service: str) -> str:
    """Return how the ARNs of a service's resources start."""
    return f"arn:{stack.partition}:{service}:{stack.region}:{stack.account}"


def _assumed_stack(session: Session, name: str) -> Stack:
    """Return a stack with the names that the template gives by default."""
    try:
        _, partition, _, _, account, _ = session.client("sts").get_caller_identity()["Arn"].split(":", 5)
    except (BotoCoreError, ClientError):
        partition, account = "aws", "ACCOUNT"
    place = f"{session.region or 'REGION'}:{account}"
    outputs = {
        "EventBusName": name,
        "EventBusArn": f"arn:{partition}:events:{place}:event-bus/{name}",
        "SigningSecretArn": f"arn:{partition}:secretsmanager:{place}:secret:SigningSecret-*",
    }
    description = {
        "StackName": name,
        "StackStatus": "",
        "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()],
    }
    return Stack(session, description, {})
