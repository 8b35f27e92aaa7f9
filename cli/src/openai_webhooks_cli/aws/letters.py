"""What a message in a dead-letter queue says. It has one of three forms:

- EventBridge could not invoke a target: the event, with the attributes RULE_ARN, ERROR_CODE and ERROR_MESSAGE.
- A function failed that has a destination for failures: a record, with the event in `requestPayload`.
- A function failed that has a DeadLetterConfig: the event, with the attributes RequestID, ErrorCode and ErrorMessage.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.dead_letters import DeadLetterQueue, is_function
from openai_webhooks_cli.aws.rules import Rule, Target
from openai_webhooks_cli.commands.event_text import event_id, iso_time
from openai_webhooks_cli.shell.output import printable


class Letter(NamedTuple):
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
        """The letter, for programs."""
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


def read_letter(message: Mapping[str, Any], queue: DeadLetterQueue, rules: Sequence[Rule]) -> Letter:
    """Read a message of SQS. Only targets of the bus's rules become targets, because the message can lie."""
    letter = Letter(queue, message)
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


def _from_rule(letter: Letter, attributes: Mapping[str, str], rules: Sequence[Rule]) -> Letter:
    targets = [target for rule in rules if rule.arn == attributes["RULE_ARN"] for target in rule.targets]
    named = [target for target in targets if target.arn == attributes.get("TARGET_ARN")]
    name = attributes["RULE_ARN"].rpartition("/")[2]
    return letter._replace(
        origin=name,
        targets=tuple(named or [target for target in targets if target.dead_letter_arn == letter.queue.arn]),
        rules=(name,),
        error=_join(attributes.get("ERROR_CODE"), attributes.get("ERROR_MESSAGE")),
    )


def _from_function(letter: Letter, function: str, rules: Sequence[Rule], errors: Sequence[Any]) -> Letter:
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


def short_name(arn: str) -> str:
    """Return the part of an ARN that a person knows: a function with its alias, or the name of a queue."""
    return arn.partition(":function:")[2] or arn.rpartition(":")[2]


def _unqualified(function: str) -> str:
    return ":".join(function.split(":")[:7])


def _is_event(value: Any) -> bool:
    return (
        isinstance(value, dict) and isinstance(value.get("detail-type"), str) and isinstance(value.get("detail"), dict)
    )


def _join(*errors: Any) -> str:
    return ": ".join(str(error) for error in errors if error)
