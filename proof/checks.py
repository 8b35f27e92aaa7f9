"""The promises, each as a check of what has happened. A violation is a line that says what and where."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from proof.deliveries import Delivery
from proof.journal import Invocation, Journal
from proof.runtime import TIMEOUT

ANSWER_LIMIT: Final = 5.0
"""Seconds within which a delivery is answered, whatever AWS does: the README."""
SEARCH_INTERVAL: Final = 60
"""Seconds between two looks of a process for a signing secret that it doesn't know."""

VIOLATIONS: Final[Mapping[str, str]] = {
    "forged": "on the bus, and not what OpenAI signed",
    "unbacked": "answered 2xx, and the event not on the bus at that moment",
    "duplicate": "on the bus once more, without a crash, a lost answer or an unreachable table",
    "stuck": "answered 409, without another copy in progress",
    "refused": "not accepted, without a fault",
    "raised": "the function raised",
    "over time": "answered or ended too late",
    "lost": "never came onto the bus",
}

EXPLANATIONS: Final[Mapping[str, str]] = {
    "crash": "the process died between the publish and its record",
    "table": "the deliveries table failed",
    "answer lost": "EventBridge took the event, and its answer didn't arrive",
}


def published(invocation: Invocation, entry: Mapping[str, Any]) -> str:
    """The violation in what has come onto the bus, if any: the delivery's event, verbatim, or nothing."""
    if invocation.delivery.intruder:
        return "forged"
    body = invocation.delivery.body
    signed = {"Source": "openai.com", "DetailType": json.loads(body)["type"], "Detail": body.decode()}
    return "" if signed.items() <= entry.items() else "forged"


def cause(earlier: Invocation, again: Invocation) -> str:
    """Why `again` published what `earlier` had; "" if there is no good reason."""
    if earlier is again:
        return "answer lost" if _answer_lost(earlier) else ""
    claim, held, recorded = again.effect("PutItem"), earlier.effect("PutItem"), earlier.effect("UpdateItem")
    if claim is None:
        return "table" if again.table_failed else ""
    if recorded and recorded.at <= claim.at:
        return ""
    if earlier.died and (held is None or claim.at >= earlier.began + TIMEOUT):
        return "crash"
    if earlier.table_failed:
        return "table"
    return "answer lost" if earlier.status == 503 and _answer_lost(earlier) else ""


def _answer_lost(invocation: Invocation) -> bool:
    return any(call.fault and call.took_effect for call in invocation.made("PutEvents"))


def answered(journal: Journal, invocation: Invocation) -> Iterator[str]:
    """The violations in how an invocation ended."""
    delivery, status = invocation.delivery, invocation.status
    if _over_time(invocation):
        yield "over time"
    if invocation.outcome == "raised":
        yield "raised"
    if status is None:
        return
    if status < 300 and (delivery.intruder or not journal.publications[delivery.webhook_id]):
        yield "unbacked"
    if delivery.intruder:
        return
    if status == 409:
        if not _in_progress(journal, invocation):
            yield "stuck"
    elif status >= 300 and not _excused(journal, invocation):
        yield "refused"


def _over_time(invocation: Invocation) -> bool:
    assert invocation.ended is not None
    trickled = any(call.fault == "trickle" for call in invocation.calls)
    return not trickled and invocation.ended - invocation.began > ANSWER_LIMIT


def _in_progress(journal: Journal, invocation: Invocation) -> bool:
    """Whether a claim stood in its way that somebody works under, or that could not be released."""
    return any(_holds(other, invocation) for other in journal.invocations[invocation.delivery.webhook_id])


def _holds(other: Invocation, at: Invocation) -> bool:
    claim, done = other.effect("PutItem"), other.effect("UpdateItem", "DeleteItem")
    asked = [call.at for call in at.made("PutItem")]
    # Whether a claim has ended it asks by its own clock, which it reads when it has begun.
    if claim is None or not asked or claim.at > asked[-1] or at.began > other.began + TIMEOUT:
        return False
    if done and done.at < asked[0]:
        return False
    working = other.ended is None or other.ended >= asked[0]
    return other.table_failed or other.died or (working and other is not at)


def _excused(journal: Journal, invocation: Invocation) -> bool:
    """Whether a fault explains that the delivery was not accepted."""
    if invocation.outcome == "PublishFailed":
        return invocation.faulty("PutEvents")
    if invocation.faulty("GetSecretValue"):
        return True
    # A process looks for secrets at intervals only: it may not know yet, or not have been able to find out.
    last = journal.last_read.get(invocation.caller)
    if last is None or invocation.began - last.at > SEARCH_INTERVAL + 1 or any(invocation.made("GetSecretValue")):
        return False
    return bool(last.fault) or (invocation.outcome == "Unverified" and last.at < journal.secret_changed)


def lost(journal: Journal, deliveries: Iterable[Delivery]) -> list[Delivery]:
    """OpenAI's deliveries whose events never came onto the bus."""
    return [of for of in deliveries if not of.intruder and not journal.publications.get(of.webhook_id)]
