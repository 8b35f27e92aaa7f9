"""A tap on the bus: a temporary queue behind a temporary rule.

EventBridge sends a copy of each matching event to the queue, and subscribers notice nothing. The rule matches only
events that are created before the end of its lease. A session renews its lease; the rule of a session that crashed
stops matching by itself, and `sweep` deletes it later.
"""

import json
import re
import secrets
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from botocore.exceptions import BotoCoreError, ClientError

from openai_webhooks_cli.aws.stack import Stack, user_name
from openai_webhooks_cli.shell.errors import Failed, if_found
from openai_webhooks_cli.shell.next_command import aws, openai_webhooks
from openai_webhooks_cli.shell.printable import printable
from openai_webhooks_cli.shell.stop import Stop

LEASE = 900
"""Seconds that a rule matches new events after the last renewal. The queue keeps events as long."""
RENEWAL = 300
"""Seconds between renewals."""
PROBE_TIMEOUT = 60  # seconds
PROBE_SOURCE = "openai-webhooks.listen"
"""The source of probes. The archive, the arrival log and subscribers with the template's source do not match it."""
VISIBILITY = 30  # seconds; an event that takes longer comes twice, and is shown once
_MAX_RULE_NAME = 64
_LEASE_TEXT = "Temporary rule of openai-webhooks, with a lease until the Unix time "

Pattern = dict[str, Any]


class Received(NamedTuple):
    """An event in the tap's queue."""

    body: str
    """The event as the bus passes it to targets, in JSON."""
    sent_at: float
    """When the bus put it into the queue, in Unix seconds."""
    receipt: str

    @property
    def event(self) -> dict[str, Any]:
        """The event, or {} if its JSON cannot be read."""
        try:
            event = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return event if isinstance(event, dict) else {}


def event_id(event: Mapping[str, Any]) -> str:
    """Return OpenAI's id of an event, for people, or "-"."""
    detail = event.get("detail")
    return printable(str(detail.get("id", "-")) if isinstance(detail, dict) else "-", 64)


class Leftover(NamedTuple):
    """A rule or a queue of a session, or both."""

    name: str
    has_rule: bool
    queue_url: str | None
    expires_at: float
    """When its lease is over, in Unix seconds."""


class Tap:
    """A queue with copies of the events that match one of the `alternatives`, patterns that the bus's rule combines.

    Open it with `open_tap`. Its resources are named after the stack, the user and `session`, 8 hex digits.
    """

    def __init__(self, stack: Stack, alternatives: Sequence[Pattern]) -> None:
        self.stack = stack
        self.session = secrets.token_hex(4)
        self.name = f"{session_prefix(stack)}{user_name()}-{self.session}"
        self.rule_arn = stack.rule_arn(self.name)
        self.lease_end = 0.0
        """When the rule stops matching new events, in Unix seconds."""
        self._alternatives = alternatives
        self._queue_arn = f"arn:{stack.partition}:sqs:{stack.region}:{stack.account}:{self.name}"
        self._queue_url = ""
        self._early: list[Received] = []  # events that arrived before the probe

    @property
    def cleanup_commands(self) -> str:
        """The commands that remove the tap, for a user whose session cannot do it."""
        bus, region = ("--event-bus-name", self.stack.bus), self.stack.region
        find = aws(
            *("sqs", "get-queue-url", "--queue-name", self.name, "--query", "QueueUrl", "--output", "text"),
            region=region,
        )
        return (
            f"  {aws('events', 'remove-targets', '--rule', self.name, '--ids', 'tap', *bus, region=region)}\n"
            f"  {aws('events', 'delete-rule', '--name', self.name, *bus, region=region)}\n"
            f"  {aws('sqs', 'delete-queue', region=region)} --queue-url {self._queue_url or f'$({find})'}"
        )

    def create(self) -> None:
        """Create the queue and the rule. After a failure, `close` removes what exists."""
        sqs, events = self.stack.client("sqs"), self.stack.client("events")
        policy = {
            "Version": "2012-10-17",
            "Statement": {
                "Effect": "Allow",
                "Principal": {"Service": "events.amazonaws.com"},
                "Action": "sqs:SendMessage",
                "Resource": self._queue_arn,
                "Condition": {"ArnEquals": {"aws:SourceArn": self.rule_arn}},
            },
        }
        self._queue_url = sqs.create_queue(
            QueueName=self.name,
            Attributes={
                "MessageRetentionPeriod": str(LEASE),
                "VisibilityTimeout": str(VISIBILITY),
                "SqsManagedSseEnabled": "true",
                "Policy": json.dumps(policy),
            },
            tags=self._tags(),
        )["QueueUrl"]
        self.renew()
        target = {"Id": "tap", "Arn": self._queue_arn}
        failed = events.put_targets(Rule=self.name, EventBusName=self.stack.bus, Targets=[target])["FailedEntries"]
        if failed:
            raise Failed(f"EventBridge refused the target of the rule {self.name}: {failed[0]['ErrorCode']}")

    def restore(self) -> bool:
        """Create again what is missing, and renew the lease. Return whether nothing was missing.

        Raises an error of AWS if it does not answer.
        """
        events, place = self.stack.client("events"), {"EventBusName": self.stack.bus}
        targets = if_found(lambda: events.list_targets_by_rule(Rule=self.name, **place))
        if targets and targets["Targets"] and _queue_url(self.stack, self.name):
            self.renew()
            return True
        self.create()
        return False

    def renew(self) -> None:
        """Extend the lease, or create the rule."""
        lease_end = self.stack.now() + LEASE
        self.stack.client("events").put_rule(
            Name=self.name,
            EventBusName=self.stack.bus,
            EventPattern=json.dumps(self.pattern(int(lease_end))),
            Description=f"{_LEASE_TEXT}{int(lease_end)}. To remove it: openai-webhooks listen --clean",
        )
        self.lease_end = lease_end

    def pattern(self, lease_end: int) -> Pattern:
        """Return the rule's pattern. `lease_end` is in Unix seconds."""
        probe = {"source": [PROBE_SOURCE], "detail": {"session": [self.session]}}
        return {"$or": [*(_with_lease(pattern, lease_end) for pattern in self._alternatives), probe]}

    def prove(self, stop: Stop) -> None:
        """Wait until an event gets through bus, rule and queue. Raises Failed if none does in time."""
        deadline = time.monotonic() + PROBE_TIMEOUT
        while time.monotonic() < deadline:
            self._put_probe()
            messages = self._receive(wait=1)
            self._early += [message for message in messages if not self.is_probe(message)]
            if any(self.is_probe(message) for message in messages):
                self.delete([message for message in messages if self.is_probe(message)])
                return
            stop.check()
        raise Failed(
            f"No probe arrived within {PROBE_TIMEOUT} s, so the tap would show nothing. The rule and the queue were "
            f"removed. Check that the bus exists, and that no policy denies it: {openai_webhooks('doctor')}"
        )

    def is_probe(self, message: Received) -> bool:
        """Return whether a message is a probe of any session."""
        return f'"{PROBE_SOURCE}"' in message.body and message.event.get("source") == PROBE_SOURCE

    def receive(self, *, wait: int) -> list[Received]:
        """Return up to 10 events. Waits for the first one for `wait` seconds, 20 at most."""
        early, self._early = self._early[:10], self._early[10:]
        return early or self._receive(wait=wait)

    def _receive(self, *, wait: int) -> list[Received]:
        messages = self.stack.client("sqs").receive_message(
            QueueUrl=self._queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=wait, AttributeNames=["SentTimestamp"]
        )
        return [
            Received(message["Body"], int(message["Attributes"]["SentTimestamp"]) / 1000, message["ReceiptHandle"])
            for message in messages.get("Messages", [])
        ]

    def delete(self, messages: Sequence[Received]) -> None:
        """Remove handled events from the queue."""
        entries = [{"Id": str(n), "ReceiptHandle": message.receipt} for n, message in enumerate(messages)]
        if entries:
            self.stack.client("sqs").delete_message_batch(QueueUrl=self._queue_url, Entries=entries)

    def close(self) -> None:
        """Remove the rule and the queue, as far as they exist."""
        _remove_rule(self.stack, self.name)
        url = self._queue_url or _queue_url(self.stack, self.name)
        if url:
            _remove_queue(self.stack, url)

    def _put_probe(self) -> None:
        entry = {
            "EventBusName": self.stack.bus,
            "Source": PROBE_SOURCE,
            "DetailType": "probe",
            "Detail": json.dumps({"session": self.session}),
        }
        [result] = self.stack.client("events").put_events(Entries=[entry])["Entries"]
        if "ErrorCode" in result:
            raise Failed(f"EventBridge refused the probe: {result['ErrorCode']}: {result.get('ErrorMessage', '')}")

    def _tags(self) -> dict[str, str]:
        started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.stack.now()))
        return {
            "openai-webhooks:stack": self.stack.name,
            "openai-webhooks:session": self.session,
            "openai-webhooks:user": user_name(),
            "openai-webhooks:host": re.sub(r"[^\w.-]", "_", socket.gethostname(), flags=re.ASCII)[:64],
            "openai-webhooks:started": started,
        }


@contextmanager
def open_tap(stack: Stack, alternatives: Sequence[Pattern], stop: Stop) -> Iterator[Tap]:
    """Open a tap, ready to receive, and remove it at the end of the `with` statement."""
    tap = Tap(stack, alternatives)
    with stop.unfinished(lambda: f"Not removed. Run these commands:\n{tap.cleanup_commands}"):
        try:
            tap.create()
            stop.check()
            tap.prove(stop)
            yield tap
        finally:
            try:
                tap.close()
            except (BotoCoreError, ClientError) as error:
                stop.leave(
                    f"The temporary rule and queue could not be removed ({type(error).__name__}). The rule matches "
                    f"nothing after {LEASE // 60} minutes, and the next session removes both. Or run:\n"
                    f"{tap.cleanup_commands}"
                )


def find_leftovers(stack: Stack) -> list[Leftover]:
    """Return the rules and queues of all sessions, the running ones too."""
    name = re.compile(rf"{re.escape(session_prefix(stack))}\w+-[0-9a-f]{{8}}", re.ASCII)
    rules = {
        rule["Name"]: _lease_end(rule.get("Description", ""))
        for page in stack.client("events")
        .get_paginator("list_rules")
        .paginate(EventBusName=stack.bus, NamePrefix=session_prefix(stack))
        for rule in page["Rules"]
        if name.fullmatch(rule["Name"])
    }
    queues = {
        queue_name: url
        for page in stack.client("sqs").get_paginator("list_queues").paginate(QueueNamePrefix=session_prefix(stack))
        for url in page.get("QueueUrls", [])
        if name.fullmatch(queue_name := url.rpartition("/")[2])
    }
    return [
        Leftover(
            name=found,
            has_rule=found in rules,
            queue_url=queues.get(found),
            expires_at=rules[found] if found in rules else _created_at(stack, queues[found]) + LEASE,
        )
        for found in sorted(rules.keys() | queues.keys())
    ]


def sweep(stack: Stack, *, running_too: bool = False) -> list[str]:
    """Remove what sessions left whose lease is over. Return their names."""
    removed = []
    for leftover in find_leftovers(stack):
        if running_too or leftover.expires_at < stack.now():
            if leftover.has_rule:
                _remove_rule(stack, leftover.name)
            if leftover.queue_url:
                _remove_queue(stack, leftover.queue_url)
            removed.append(leftover.name)
    return removed


def session_prefix(stack: Stack) -> str:
    """Return how the names of all sessions' rules and queues start."""
    # "-listen-", the user (16), a dash and the session (8) have to fit.
    return f"{stack.name[: _MAX_RULE_NAME - 33]}-listen-"


def _with_lease(pattern: Pattern, lease_end: int) -> Pattern:
    """Return the pattern with the lease, unless it has a condition of its own on `created_at`."""
    lease = {"created_at": [{"numeric": ["<", lease_end]}, {"exists": False}]}
    return {**pattern, "detail": {**lease, **pattern.get("detail", {})}}


def _lease_end(description: str) -> float:
    """Return the end of the lease in a rule's description, or 0 if it has none."""
    found = re.match(rf"{_LEASE_TEXT}(\d+)", description)
    return float(found[1]) if found else 0.0


def _created_at(stack: Stack, queue_url: str) -> float:
    sqs, names = stack.client("sqs"), ["CreatedTimestamp"]
    answer = if_found(lambda: sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names))
    # Without an answer, another session has just removed the queue.
    return float(answer["Attributes"]["CreatedTimestamp"]) if answer else 0.0


def _remove_rule(stack: Stack, name: str) -> None:
    events, bus = stack.client("events"), stack.bus
    if if_found(lambda: events.remove_targets(Rule=name, EventBusName=bus, Ids=["tap"])):
        if_found(lambda: events.delete_rule(Name=name, EventBusName=bus))


def _remove_queue(stack: Stack, url: str) -> None:
    if_found(lambda: stack.client("sqs").delete_queue(QueueUrl=url))


def _queue_url(stack: Stack, name: str) -> str | None:
    answer = if_found(lambda: stack.client("sqs").get_queue_url(QueueName=name))
    return answer and str(answer["QueueUrl"])
