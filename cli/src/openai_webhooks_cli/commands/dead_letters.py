"""`openai-webhooks dead-letters`: the events that subscribers could not handle, and how to send them again."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Self

import typer
from botocore.exceptions import BotoCoreError, ClientError

from openai_webhooks_cli.aws.dead_letters import DeadLetterQueue, is_function, oldest_ages, read_queues
from openai_webhooks_cli.aws.letters import Letter, read_letter, short_name
from openai_webhooks_cli.aws.rules import Rule, Target, read_rules
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.commands.forwarding import Forwarder, absent_servers, parse_targets
from openai_webhooks_cli.shell.command import Selection, Yes, command
from openai_webhooks_cli.shell.errors import CannotRun, Failed, explain, is_denied, is_expired
from openai_webhooks_cli.shell.output import Output, printable
from openai_webhooks_cli.shell.stop import Stop

app = typer.Typer(no_args_is_help=True, help="List, show and redrive the events that subscribers could not handle.")

HIDDEN = 360
"""Seconds that nobody else receives a letter. Ten letters take less, even if a server does not answer in time."""

_BATCH = 10  # SQS's limit

_STYLES = {"redriven": "green", "planned": None, "failed": "red", "left": "yellow"}

RuleName = Annotated[str | None, typer.Option("--rule", metavar="RULE", help="Only letters of this rule on the bus.")]


@app.command("list")
@command("dead-letters list")
def list_queues(
    output: Output,
    selection: Selection,
    rule: RuleName = None,
) -> None:
    """List the dead-letter queues of the rules on the bus, and of the functions that the rules invoke."""
    found = selection.find(output)
    _, queues = _read_queues(found, output, rule)
    ages = oldest_ages(found, queues)
    for queue in queues:
        age = ages.get(queue.arn)
        oldest = f", oldest {timedelta(seconds=int(age))}" if age is not None else ""
        letters = "not readable" if queue.depth is None else _count(queue.depth) + oldest
        users = ", ".join([*queue.rules, *map(short_name, queue.functions)])
        output.line(f"{queue.name}  {letters}  {users}", "yellow" if queue.depth else None)
        output.record(type="queue", **queue._asdict(), oldest_seconds=age)
    if not queues:
        output.line("No rule on the bus has a dead-letter queue. No function of a rule has one.")


@app.command()
@command("dead-letters show")
def show(
    output: Output,
    selection: Selection,
    rule: RuleName = None,
    maximum: Annotated[int, typer.Option("--max", min=1, help="Number of letters to show.")] = 100,
) -> None:
    """Show the letters, and why their events failed. The letters stay in their queues."""
    found = selection.find(output)
    rules, queues = _read_queues(found, output, rule)
    letters = []
    with output.progress("Reading the letters"), Stop() as stop, _Reader(found, output, queues, rules) as reader:
        for letter in islice(reader.letters(rule), maximum):
            stop.check()
            letters.append(letter)
    for letter in letters:
        sent_at = datetime.fromtimestamp(letter.sent_at).astimezone()
        output.line(f"{letter.title}  {sent_at:%Y-%m-%d %H:%M:%S}  {printable(letter.origin)}")
        output.line(f"    {printable(letter.error)}", "red")
        output.record(type="letter", **letter.fields)
    output.note(f"Shown: {len(letters)}. In the queues: {_depth(queues)}.")


@app.command()
@command("dead-letters redrive")
def redrive(
    output: Output,
    selection: Selection,
    rule: RuleName = None,
    maximum: Annotated[int | None, typer.Option("--max", min=1, help="Number of letters to redrive.")] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="RULE|URL", help="Send the events to another rule's targets, or post them to a URL."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be sent, and where.")] = False,
    yes: Yes = False,
) -> None:
    """Send the events to their functions again. A letter is deleted only after its event was accepted.

    Fix the cause first: an event that fails again becomes a new letter.
    Functions with handle_once skip events that they already handled.
    """
    found = selection.find(output)
    rules, queues = _read_queues(found, output, rule)
    route = _Route(found, rules, to)
    for queue in queues:
        if queue.depth:
            destination = to or ", ".join(map(short_name, queue.functions)) or "the targets of its rules"
            output.note(f"{queue.name}: {_count(queue.depth)} -> {printable(destination)}")
    # The limit also ends a run in which every event fails again, and comes back as a new letter.
    limit = min(_depth(queues), maximum or _depth(queues))
    if limit and not dry_run and not output.confirm(f"Redrive up to {_count(limit)}?", yes=yes):
        return
    counts = Counter({"planned": 0} if dry_run else {"redriven": 0, "failed": 0})
    counts["left"] = 0
    try:
        with Stop() as stop, _Reader(found, output, queues, rules) as reader:
            stop.on_second = lambda: output.error(reader.hidden)
            for letter in islice(reader.letters(rule), limit):
                stop.check()
                result, reason = _redrive(letter, route, reader, dry_run=dry_run)
                counts[result] += 1
                output.line(f"{result:<8}  {letter.title}  {printable(reason or route.text(letter))}", _STYLES[result])
                output.record(type="letter", result=result, reason=reason, **letter.fields)
    finally:
        output.record(type="summary", **counts)
        output.note(", ".join(f"{result}: {count}" for result, count in counts.items()))
    if stay := counts["failed"] + counts["left"]:
        raise Failed(f"{_count(stay)} stay in their queues. To see why: openai-webhooks dead-letters show")


class _Reader:
    """Receives each letter of the queues once. Until the `with` statement ends, nobody else receives it."""

    hidden = f"Letters that were read are hidden for {HIDDEN // 60} minutes. They are not lost."

    def __init__(self, stack: Stack, output: Output, queues: Sequence[DeadLetterQueue], rules: Sequence[Rule]) -> None:
        self._sqs = stack.client("sqs")
        self._output = output
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
            self._output.warning(self.hidden)

    def letters(self, rule: str | None) -> Iterator[Letter]:
        """Yield the letters, or only those of the rule with this name."""
        for queue in self._queues:
            seen: set[str] = set()
            while len(seen) < (queue.depth or 0) and (messages := self._receive(queue)):
                for message in messages:
                    letter = read_letter(message, queue, self._rules)
                    if message["MessageId"] not in seen and rule in (None, *letter.rules):
                        yield letter
                    seen.add(message["MessageId"])

    def delete(self, letter: Letter) -> None:
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


class _Route:
    """Where events go: to the targets that did not handle them, to the targets of the rule `to`, or to the URL `to`."""

    def __init__(self, stack: Stack, rules: Sequence[Rule], to: str | None) -> None:
        self._stack = stack
        self._forwarder: Forwarder | None = None
        self._rule: Rule | None = None
        if to and (":" in to or "/" in to):
            self._forwarder = Forwarder(parse_targets([f"*={to}"]))
            if absent_servers(self._forwarder.targets):
                raise CannotRun(f"Nothing listens on {printable(to)}. Start the server, and run the command again.")
        elif to:
            self._rule = _require_rule(stack, rules, to)

    def text(self, letter: Letter) -> str:
        """Return where the letter's event goes, for people."""
        if self._forwarder:
            return f"-> {self._forwarder.targets[0].url}"
        return f"-> {', '.join(short_name(target.arn) for target in self._targets(letter))}"

    def obstacle(self, letter: Letter) -> str:
        """Return why the letter has to stay in its queue, or an empty text."""
        if letter.form == "unknown":
            return letter.error
        if (self._forwarder or self._rule) and not letter.event:
            return "The rule transformed the event, so it can go only to its own target."
        return "" if self._forwarder else self._obstacle_at_targets(letter)

    def send(self, letter: Letter) -> str:
        """Send the event. Return why it was not accepted, or an empty text. Raises errors that concern all letters."""
        if self._forwarder:
            [answer] = self._forwarder.forward(letter.event, letter.payload)
            return "" if answer.ok else f"{answer.url} answered {answer.status or 'nothing'}: {answer.text}"
        try:
            refused = [target.arn for target in self._targets(letter) if not self._send_to(target.arn, letter.payload)]
        except ClientError as error:
            if is_denied(error) or is_expired(error):
                raise
            return explain(error, "dead-letters redrive")
        return f"Not accepted by {', '.join(refused)}" if refused else ""

    def _targets(self, letter: Letter) -> Sequence[Target]:
        return self._rule.targets if self._rule else letter.targets

    def _obstacle_at_targets(self, letter: Letter) -> str:
        targets = self._targets(letter)
        if not targets:
            return f"No target of a rule on the bus fits {letter.origin}. Pass --to RULE or --to URL."
        if (self._rule or letter.form == "eventbridge") and any(target.transforms for target in targets):
            return "The rule transforms events before it sends them. Replay the event: openai-webhooks replay"
        if not all(is_function(target.arn) or _is_standard_queue(target.arn) for target in targets):
            return "A target is neither a function nor a standard queue. Pass --to RULE or --to URL."
        return ""

    def _send_to(self, arn: str, payload: str) -> bool:
        if is_function(arn):
            answer = self._stack.client("lambda").invoke(
                FunctionName=arn, InvocationType="Event", Payload=payload.encode()
            )
            return bool(answer["StatusCode"] == 202)
        sqs, (owner, name) = self._stack.client("sqs"), arn.split(":")[4:]
        url = sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=owner)["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=payload)
        return True


def _redrive(letter: Letter, route: _Route, reader: _Reader, *, dry_run: bool) -> tuple[str, str]:
    """Send a letter's event, and delete the letter if the event was accepted. Return the result, and why it is so."""
    if obstacle := route.obstacle(letter):
        return "left", obstacle
    if dry_run:
        return "planned", ""
    if refusal := route.send(letter):
        return "failed", refusal
    reader.delete(letter)
    return "redriven", ""


def _read_queues(stack: Stack, output: Output, rule: str | None) -> tuple[list[Rule], list[DeadLetterQueue]]:
    """Return all rules, and the dead-letter queues of one rule or of all."""
    with output.progress("Reading the rules and their dead-letter queues"):
        rules = read_rules(stack)
        if rule:
            _require_rule(stack, rules, rule)
        queues = [queue for queue in read_queues(stack, rules) if rule in (None, *queue.rules)]
    for queue in queues:
        if queue.error:
            output.warning(f"The queue {queue.arn} cannot be read ({queue.error}). Rules: {', '.join(queue.rules)}")
    return rules, queues


def _require_rule(stack: Stack, rules: Sequence[Rule], name: str) -> Rule:
    for rule in rules:
        if rule.name == name:
            return rule
    raise CannotRun(f"The bus {stack.bus} has no rule {printable(name)}. To list them: openai-webhooks rules")


def _is_standard_queue(arn: str) -> bool:
    return arn.split(":")[2] == "sqs" and not arn.endswith(".fifo")


def _depth(queues: Sequence[DeadLetterQueue]) -> int:
    return sum(queue.depth or 0 for queue in queues)


def _count(letters: int) -> str:
    return f"{letters} letter{'' if letters == 1 else 's'}"
