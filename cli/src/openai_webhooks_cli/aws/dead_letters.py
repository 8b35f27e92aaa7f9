"""The dead-letter queues of the subscribers on the stack's bus.

EventBridge's queue is in a rule's target. Lambda's queue is in the settings of the function: the destination for
failures, or the older DeadLetterConfig.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from botocore.exceptions import ClientError

from openai_webhooks_cli.aws.rules import Rule, read_rules
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.shell.errors import is_denied

_THREADS = 8
_MAX_QUERIES = 500  # of GetMetricData
_METRIC_PERIOD = 60  # seconds
_METRIC_AGE = timedelta(minutes=15)  # SQS reports late. A minute without a value is no news.


class DeadLetterQueue(NamedTuple):
    """A queue that gets the events which a subscriber could not handle."""

    name: str
    arn: str
    url: str
    """Empty if the queue cannot be read."""
    rules: tuple[str, ...]
    """Names of the rules whose events can be in the queue."""
    functions: tuple[str, ...]
    """ARNs of the functions whose events can be in the queue, as the rules target them."""
    depth: int | None
    """Messages in the queue, those in flight too. None if the queue cannot be read."""
    error: str = ""
    """AWS's error code if the queue cannot be read: it was deleted, or belongs to another account."""


def is_function(arn: str) -> bool:
    """Return whether an ARN is that of a Lambda function."""
    return arn.split(":")[2] == "lambda"


def read_queues(stack: Stack, rules: Sequence[Rule] | None = None) -> list[DeadLetterQueue]:
    """Return the dead-letter queues of the subscribers, by name. `rules` are those of `read_rules`, if known."""
    rules = read_rules(stack) if rules is None else rules
    targets = [(rule, target) for rule in rules for target in rule.targets]
    functions = sorted({target.arn for _, target in targets if is_function(target.arn)})
    with ThreadPoolExecutor(_THREADS) as threads:
        queues_of = dict(zip(functions, threads.map(lambda arn: _function_queues(stack, arn), functions), strict=True))
        # By the queue's ARN: names of rules, and ARNs of functions.
        users: dict[str, tuple[set[str], set[str]]] = {}
        for rule, target in targets:
            for arn in {target.dead_letter_arn, *queues_of.get(target.arn, ())} - {None}:
                names, arns = users.setdefault(str(arn), (set(), set()))
                names.add(rule.name)
                arns.update({target.arn} & queues_of.keys())
        found = threads.map(lambda arn: _read_queue(stack, arn, *users[arn]), users)
        return sorted(found, key=lambda queue: queue.name)


def oldest_ages(stack: Stack, queues: Iterable[DeadLetterQueue]) -> dict[str, float]:
    """Return the age of the oldest message in seconds, by the queue's ARN. CloudWatch may not know it yet."""
    queues = [queue for queue in queues if queue.depth][:_MAX_QUERIES]
    if not queues:
        return {}
    now = datetime.fromtimestamp(stack.now(), UTC)
    answer = stack.client("cloudwatch").get_metric_data(
        MetricDataQueries=[_age_query(number, queue) for number, queue in enumerate(queues)],
        StartTime=now - _METRIC_AGE,
        EndTime=now,
        ScanBy="TimestampDescending",
    )
    return {
        queues[int(result["Id"][1:])].arn: float(result["Values"][0])
        for result in answer["MetricDataResults"]
        if result["Values"]
    }


def _age_query(number: int, queue: DeadLetterQueue) -> dict[str, Any]:
    metric = {
        "Namespace": "AWS/SQS",
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Dimensions": [{"Name": "QueueName", "Value": queue.name}],
    }
    return {"Id": f"q{number}", "MetricStat": {"Metric": metric, "Period": _METRIC_PERIOD, "Stat": "Maximum"}}


def _function_queues(stack: Stack, arn: str) -> set[str]:
    """Return the ARNs of the queues to which Lambda sends the events that the function failed to handle."""
    client = stack.client("lambda")
    destination = _tolerant(stack, arn, lambda: client.get_function_event_invoke_config(FunctionName=arn)) or {}
    settings = _tolerant(stack, arn, lambda: client.get_function_configuration(FunctionName=arn)) or {}
    found = {
        destination.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination", ""),
        settings.get("DeadLetterConfig", {}).get("TargetArn", ""),
    }
    return {arn for arn in found if ":sqs:" in arn}


def _read_queue(stack: Stack, arn: str, rules: set[str], functions: set[str]) -> DeadLetterQueue:
    owner, name = arn.split(":")[4:6]
    queue = DeadLetterQueue(name, arn, "", tuple(sorted(rules)), tuple(sorted(functions)), None)
    sqs = stack.client("sqs")
    counts = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    try:
        url = sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=owner)["QueueUrl"]
        attributes = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=counts)["Attributes"]
    except ClientError as error:
        if not _is_absent(stack, arn, error):
            raise
        return queue._replace(error=error.response["Error"]["Code"])
    return queue._replace(url=url, depth=sum(int(attributes[count]) for count in counts))


def _tolerant(stack: Stack, arn: str, call: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """Return the answer of a call about a resource, or None if the resource is absent."""
    try:
        return call()
    except ClientError as error:
        if not _is_absent(stack, arn, error):
            raise
        return None


def _is_absent(stack: Stack, arn: str, error: ClientError) -> bool:
    """Return whether a resource does not exist, or belongs to another account that does not share it."""
    code = error.response["Error"]["Code"]
    is_missing = code == "ResourceNotFoundException" or "NonExistentQueue" in code or "QueueDoesNotExist" in code
    return is_missing or (is_denied(error) and arn.split(":")[4] != stack.account)
