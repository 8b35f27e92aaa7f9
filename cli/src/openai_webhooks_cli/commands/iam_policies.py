"""The three IAM policies for the commands, and the policies that each command needs.

Keys of KMS are not in them, because the stack uses none of its own. Which actions support resources is in AWS's Service
Authorization Reference:
https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.aws.tap import PROBE_SOURCE, session_prefix

Grants = tuple[tuple[str, str], ...]
"""Pairs of a resource, as in `resources`, and actions separated by spaces."""

# sts:GetCallerIdentity is not here, because nobody needs a permission for it.
_STACK: Grants = (("stack", "cloudformation:DescribeStacks cloudformation:ListStackResources"),)
_RULES: Grants = (("*", "events:ListRules"), ("rules", "events:ListTargetsByRule"))
_LEFTOVERS: Grants = (("*", "events:ListRules sqs:ListQueues"), ("sessions' queues", "sqs:GetQueueAttributes"))

POLICIES: Final[Mapping[str, Grants]] = {
    "read": (
        *_STACK,
        *_RULES,
        *_LEFTOVERS,
        # Without a name, DescribeStacks lists the stacks of the account.
        ("*", "cloudformation:DescribeStacks events:TestEventPattern"),
        ("*", "cloudwatch:GetMetricData cloudwatch:DescribeAlarmsForMetric"),
        ("functions", "lambda:GetFunctionEventInvokeConfig lambda:GetFunctionConfiguration lambda:GetPolicy"),
        ("dead-letter queues", "sqs:GetQueueUrl sqs:GetQueueAttributes"),
        ("target queues", "sqs:GetQueueUrl sqs:GetQueueAttributes"),
        ("alarms", "cloudwatch:DescribeAlarms"),
        ("alarms' topic", "sns:GetTopicAttributes"),
        ("archive", "events:DescribeArchive"),
        ("arrival rule", "events:DescribeRule"),
        ("receiver's log", "logs:DescribeLogStreams logs:GetLogEvents logs:FilterLogEvents"),
        ("secret", "secretsmanager:GetSecretValue secretsmanager:ListSecretVersionIds"),
    ),
    "listen": (
        *_STACK,
        *_RULES,
        *_LEFTOVERS,
        ("sessions' rules", "events:PutRule events:PutTargets events:RemoveTargets events:DeleteRule"),
        ("sessions' queues", "sqs:CreateQueue sqs:TagQueue sqs:GetQueueUrl sqs:DeleteQueue"),
        ("sessions' queues", "sqs:ReceiveMessage sqs:DeleteMessage"),
        ("bus for probes", "events:PutEvents"),
        ("archive", "events:DescribeArchive"),
        ("replay", "events:StartReplay"),
        ("replays", "events:CancelReplay events:DescribeReplay"),
    ),
    "write": (
        ("dead-letter queues", "sqs:ReceiveMessage sqs:ChangeMessageVisibility sqs:DeleteMessage"),
        ("functions", "lambda:InvokeFunction"),
        ("target queues", "sqs:GetQueueUrl sqs:SendMessage"),
        ("secret", "secretsmanager:PutSecretValue secretsmanager:UpdateSecretVersionStage"),
    ),
}
"""By name. `write` is an addition to `read`."""

COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "listen": ("listen",),
    "show": ("listen",),
    "replay": ("listen",),
    "rules": ("read",),
    "endpoint create": ("read", "listen", "write"),
    "endpoint list": ("read",),
    "endpoint update": ("read",),
    "endpoint test": ("listen",),
    "endpoint rotate": ("read", "listen", "write"),
    "endpoint delete": ("read",),
    "status": ("read",),
    "doctor": ("read", "listen"),
    "dead-letters list": ("read",),
    "dead-letters show": ("read", "write"),
    "dead-letters redrive": ("read", "write"),
    "iam": ("read",),
}
"""The policies that each command needs, with all its options."""


def statements(policies: Iterable[str], found: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """Return the statements of some policies: one for each resource. `found` has the ARNs of each resource."""
    actions: dict[str, set[str]] = {}
    for policy in policies:
        for resource, names in POLICIES[policy]:
            actions.setdefault(resource, set()).update(names.split())
    return [
        {
            "Effect": "Allow",
            "Action": sorted(names),
            "Resource": found[resource],
            **(
                {"Condition": {"StringEquals": {"events:source": PROBE_SOURCE}}} if resource == "bus for probes" else {}
            ),
        }
        for resource, names in actions.items()
        if found[resource]
    ]


def resources(stack: Stack) -> dict[str, list[str]]:
    """Return the ARNs of each resource, except those of the rules' targets."""

    def arn(service: str, resource: str) -> str:
        return f"{start_of_arn(stack, service)}:{resource}"

    def name(logical_id: str) -> str:
        return stack.physical_id(logical_id) or f"{stack.name}-{logical_id}-*"

    log = arn("logs", f"log-group:{name('ReceiverLog')}")
    archive = arn("events", f"archive/{stack.physical_id('EventArchive') or '*'}")
    replays = [arn("events", f"replay/{start}-*") for start in (stack.name[:40], "listen")]
    return {
        # ListRules, TestEventPattern, ListQueues, GetMetricData and DescribeAlarmsForMetric do not support resources.
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
        "alarms' topic": [stack.physical_id("AlarmTopic") or arn("sns", f"{stack.name}-AlarmTopic-*")],
        # The second one is for the streams in the log group.
        "receiver's log": [log, f"{log}:*"],
        "arrival rule": [stack.rule_arn(name("ArrivalRule").rpartition("|")[2].rpartition("/")[2])],
        "secret": [stack.outputs["SigningSecretArn"]],
    }


def start_of_arn(stack: Stack, service: str) -> str:
    """Return how the ARNs of a service's resources start."""
    return f"arn:{stack.partition}:{service}:{stack.region}:{stack.account}"
