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
from openai_webhooks_cli.aws.rules import Rule, read_rules
from openai_webhooks_cli.aws.stack import Stack
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what would be sent, and where.")] = False,
    yes: Yes = False,
) -> None:
    """Send the events to their functions again. A letter is deleted only after its event was accepted.

    Fix the cause first: an event that fails again becomes a new letter.
    Functions with handle_once skip events that they already handled.
    """
    found = selection.find(output)
    rules, queues = _read_queues(found, output, rule)
    for queue in queues:
        if queue.depth:
            destination = ", ".join(map(short_name, queue.functions)) or "the targets of its rules"
            output.note(f"{queue.name}: {_count(queue.depth)} -> {destination}")
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
                result, reason = _redrive(found, letter, reader, dry_run=dry_run)
                counts[result] += 1
                output.line(f"{result:<8}  {letter.title}  {printable(reason or _route(letter))}", _STYLES[result])
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


def _redrive(stack: Stack, letter: Letter, reader: _Reader, *, dry_run: bool) -> tuple[str, str]:
    """Send a letter's event, and delete the letter if the event was accepted. Return the result, and why it is so."""
    if obstacle := _obstacle(letter):
        return "left", obstacle
    if dry_run:
        return "planned", ""
    if refusal := _send(stack, letter):
        return "failed", refusal
    reader.delete(letter)
    return "redriven", ""


def _route(letter: Letter) -> str:
    """Return where the letter's event goes, for people."""
    return f"-> {', '.join(short_name(target.arn) for target in letter.targets)}"


def _obstacle(letter: Letter) -> str:
    """Return why the letter has to stay in its queue, or an empty text."""
    if letter.form == "unknown":
        return letter.error
    if not letter.targets:
        return f"No target of a rule on the bus fits {letter.origin}."
    if letter.form == "eventbridge" and any(target.transforms for target in letter.targets):
        return "The rule transforms events before it sends them. Replay the event's minute: openai-webhooks replay"
    if not all(is_function(target.arn) or _is_standard_queue(target.arn) for target in letter.targets):
        return "A target is neither a function nor a standard queue. Replay the event's minute: openai-webhooks replay"
    return ""


def _send(stack: Stack, letter: Letter) -> str:
    """Send the event. Return why it was not accepted, or an empty text. Raises errors that concern all letters."""
    try:
        refused = [target.arn for target in letter.targets if not _send_to(stack, target.arn, letter.payload)]
    except ClientError as error:
        if is_denied(error) or is_expired(error):
            raise
        return explain(error, "dead-letters redrive")
    return f"Not accepted by {', '.join(refused)}" if refused else ""


def _send_to(stack: Stack, arn: str, payload: str) -> bool:
    if is_function(arn):
        answer = stack.client("lambda").invoke(FunctionName=arn, InvocationType="Event", Payload=payload.encode())
        return bool(answer["StatusCode"] == 202)
    sqs, (owner, name) = stack.client("sqs"), arn.split(":")[4:]
    url = sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=owner)["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody=payload)
    return True


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
