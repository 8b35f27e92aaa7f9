"""The dead-letter queues of the subscribers on the stack's bus, and the messages in them.

EventBridge's queue is in a rule's target. Lambda's queue is in the settings of the function: the destination for
failures, or the older DeadLetterConfig. So a message has one of three forms:

- EventBridge could not invoke a target: the event, with the attributes RULE_ARN, ERROR_CODE and ERROR_MESSAGE.
- A function failed that has a destination for failures: a record, with the event in `requestPayload`.
- A function failed that has a DeadLetterConfig: the event, with the attributes RequestID, ErrorCode and ErrorMessage.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple, Self

from botocore.exceptions import BotoCoreError, ClientError

from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.rules import Rule, Target, is_function, read_rules, short_name
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.aws.tap import event_id
from openai_webhooks_cli.shell.errors import is_absent, is_denied
from openai_webhooks_cli.shell.printable import printable
from openai_webhooks_cli.shell.stop import Stop
from openai_webhooks_cli.shell.times import iso_time

_THREADS = 8
_MAX_QUERIES = 500  # of GetMetricData
HIDDEN = 360
"""Seconds that nobody else receives a message. Ten messages take less, even if a function does not answer in time."""
_BATCH = 10  # SQS's limit
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


class DeadLetter(NamedTuple):
    """A message in a dead-letter queue."""

    queue: DeadLetterQueue
    message: Mapping[str, Any]
    """The message as SQS returns it."""
    form: Literal["eventbridge", "lambda record", "lambda event", "unknown"] = "unknown"
    payload: str = ""
    """What the target gets, in JSON: the event, unless the rule transforms events."""
    origin: str = "unknown"
    """The rule or the function that the message names. Anyone who can write to the queue chooses it."""
    targets: tuple[Target, ...] = ()
    """The rule's targets that did not handle the event, as far as they still exist."""
    rules: tuple[str, ...] = ()
    """Names of the rules that can have sent the event."""
    error: str = "The message is not a dead letter of EventBridge or Lambda."

    @property
    def event(self) -> dict[str, Any]:
        """The event as the bus passes it to targets, or {} if the payload is something else."""
        payload = json.loads(self.payload or "{}")
        return payload if _is_event(payload) else {}

    @property
    def title(self) -> str:
        """The event's type and id, for people."""
        return f"{printable(str(self.event.get('detail-type', '?')), 128):<28}  {event_id(self.event)}"

    @property
    def sent_at(self) -> float:
        """When the message came into the queue, in Unix seconds."""
        return int(self.message["Attributes"]["SentTimestamp"]) / 1000

    @property
    def fields(self) -> dict[str, Any]:
        """The message, for programs."""
        return {
            "queue": self.queue.name,
            "message_id": self.message["MessageId"],
            "sent_at": iso_time(self.sent_at),
            "form": self.form,
            "origin": self.origin,
            "rules": self.rules,
            "error": self.error,
            **({"event": json.loads(self.payload)} if self.payload else {"body": self.message["Body"]}),
        }


class Reader:
    """Receives each dead letter of the queues once. Until the `with` statement ends, nobody else receives it."""

    hidden = f"The messages that were read are hidden for {HIDDEN // 60} minutes. They are not lost."

    def __init__(self, stack: Stack, queues: Sequence[DeadLetterQueue], rules: Sequence[Rule], stop: Stop) -> None:
        self._sqs = stack.client("sqs")
        self._stop = stop
        self._queues = queues
        self._rules = rules
        self._receipts: dict[str, dict[str, str]] = {queue.url: {} for queue in queues}
        """By the queue's URL and the message's id."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for url, receipts in self._receipts.items():
                entries = [
                    {"Id": str(number), "ReceiptHandle": receipt, "VisibilityTimeout": 0}
                    for number, receipt in enumerate(receipts.values())
                ]
                for start in range(0, len(entries), _BATCH):
                    batch = entries[start : start + _BATCH]
                    self._sqs.change_message_visibility_batch(QueueUrl=url, Entries=batch)
        except (BotoCoreError, ClientError):
            self._stop.leave(self.hidden)

    def dead_letters(self, rule: str | None) -> Iterator[DeadLetter]:
        """Yield the dead letters, or only those of the rule with this name."""
        for queue in self._queues:
            seen: set[str] = set()
            while len(seen) < (queue.depth or 0) and (messages := self._receive(queue)):
                for message in messages:
                    letter = read_dead_letter(message, queue, self._rules)
                    if message["MessageId"] not in seen and rule in (None, *letter.rules):
                        yield letter
                    seen.add(message["MessageId"])

    def delete(self, letter: DeadLetter) -> None:
        url, message = letter.queue.url, letter.message
        self._sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        del self._receipts[url][message["MessageId"]]

    def _receive(self, queue: DeadLetterQueue) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = self._sqs.receive_message(
            QueueUrl=queue.url,
            MaxNumberOfMessages=_BATCH,
            VisibilityTimeout=HIDDEN,
            WaitTimeSeconds=2,  # A long poll asks all of SQS's servers. A short poll can miss messages.
            AttributeNames=["SentTimestamp"],
            MessageAttributeNames=["All"],
        ).get("Messages", [])
        self._receipts[queue.url].update({message["MessageId"]: message["ReceiptHandle"] for message in messages})
        return messages


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


def read_dead_letter(message: Mapping[str, Any], queue: DeadLetterQueue, rules: Sequence[Rule]) -> DeadLetter:
    """Read a message of SQS. Only targets of the bus's rules become targets, because the message can lie."""
    letter = DeadLetter(queue, message)
    attributes = {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
    try:
        body = json.loads(message["Body"])
        samples.encode(body)  # raises for lone surrogates, which no target accepts
    except (ValueError, RecursionError):
        return letter
    match body:
        case {"requestPayload": payload, "requestContext": {"functionArn": str(function), "condition": condition}}:
            response = body["responsePayload"] if isinstance(body.get("responsePayload"), dict) else {}
            errors = (condition, response.get("errorType"), response.get("errorMessage"))
            letter = letter._replace(form="lambda record", payload=samples.encode(payload).decode())
            return _from_function(letter, function, rules, errors)
        case _ if _is_event(body) and "RULE_ARN" in attributes:
            letter = letter._replace(form="eventbridge", payload=message["Body"])
            return _from_rule(letter, attributes, rules)
        case _ if _is_event(body) and "RequestID" in attributes:
            letter = letter._replace(form="lambda event", payload=message["Body"])
            # The message does not name its function.
            function = queue.functions[0] if len(queue.functions) == 1 else ""
            return _from_function(
                letter, function, rules, (attributes.get("ErrorCode"), attributes.get("ErrorMessage"))
            )
    return letter


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
    return is_absent(error) or (is_denied(error) and arn.split(":")[4] != stack.account)


def _from_rule(letter: DeadLetter, attributes: Mapping[str, str], rules: Sequence[Rule]) -> DeadLetter:
    targets = [target for rule in rules if rule.arn == attributes["RULE_ARN"] for target in rule.targets]
    named = [target for target in targets if target.arn == attributes.get("TARGET_ARN")]
    name = attributes["RULE_ARN"].rpartition("/")[2]
    return letter._replace(
        origin=name,
        targets=tuple(named or [target for target in targets if target.dead_letter_arn == letter.queue.arn]),
        rules=(name,),
        error=_join(attributes.get("ERROR_CODE"), attributes.get("ERROR_MESSAGE")),
    )


def _from_function(letter: DeadLetter, function: str, rules: Sequence[Rule], errors: Sequence[Any]) -> DeadLetter:
    # A record names a version or an alias. The rule's target may name another one, or none.
    users = [
        (rule.name, target)
        for rule in rules
        for target in rule.targets
        if is_function(target.arn) and _unqualified(target.arn) == _unqualified(function)
    ]
    by_arn = {target.arn: target for _, target in users}
    exact = by_arn.get(function.removesuffix(":$LATEST"))
    targets = (exact,) if exact else tuple(by_arn.values())
    return letter._replace(
        origin=short_name(function) or "a function of the queue",
        targets=targets if len(targets) == 1 else (),
        rules=tuple(dict.fromkeys(name for name, _ in users)) or letter.queue.rules * (not function),
        error=_join(*errors),
    )


def _unqualified(function: str) -> str:
    return ":".join(function.split(":")[:7])


def _is_event(value: Any) -> bool:
    return (
        isinstance(value, dict) and isinstance(value.get("detail-type"), str) and isinstance(value.get("detail"), dict)
    )


def _join(*errors: Any) -> str:
    return ": ".join(str(error) for error in errors if error)
