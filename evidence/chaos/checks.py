"""The promises as checks of what happened. A check returns the name of the violation, or "" if there is none."""

import json
from collections.abc import Iterable, Iterator, Mapping
from math import inf
from typing import Any, Final

from evidence.chaos.deliveries import Delivery
from evidence.chaos.journal import Invocation, Journal
from receiver.signing_keys import MAX_REFRESHES, REFRESH_PERIOD, RETRY_INTERVAL_WITHOUT_KEYS
from tests.support.lambda_runtime import TIMEOUT

ANSWER_LIMIT: Final = 5.0
"""Seconds within which a delivery is answered, even if AWS hangs. README promises it."""

MAX_READERS: Final = MAX_REFRESHES + 1 + REFRESH_PERIOD // RETRY_INTERVAL_WITHOUT_KEYS
"""Invocations of a process that may read the signing secret within about REFRESH_PERIOD.

The refreshes are for deliveries that no cached key matches. The others are for an empty cache while reading fails.
"""

_INACCURACY: Final = 2
"""Seconds by which the period can differ here: the receiver counts whole seconds, and a busy machine is slow."""

VIOLATIONS: Final[Mapping[str, str]] = {
    "forged": "on the bus, but not what OpenAI signed",
    "unbacked": "answered with 2xx, but the event was not on the bus at that moment",
    "duplicate": "on the bus again, without a crash, a lost answer or an unreachable table",
    "stuck": "answered with 409, but no other copy was in progress",
    "refused": "not accepted, without a fault",
    "read too often": "the signing secret was read more often than the limit allows",
    "raised": "the function raised an exception",
    "over time": "answered or ended too late",
    "lost": "never on the bus",
}

EXPLANATIONS: Final[Mapping[str, str]] = {
    "crash": "the process was killed between the publish and its record",
    "table": "the deliveries table failed",
    "answer lost": "EventBridge accepted the event, but its answer was lost",
}


def published(invocation: Invocation, entry: Mapping[str, Any]) -> str:
    """Check an entry that reached the bus. It must be the delivery's event, verbatim."""
    if invocation.delivery.intruder:
        return "forged"
    body = invocation.delivery.body
    signed = {"Source": "openai.com", "DetailType": json.loads(body)["type"], "Detail": body.decode()}
    return "" if signed.items() <= entry.items() else "forged"


def cause(earlier: Invocation, again: Invocation) -> str:
    """Return the allowed cause for `again` to publish what `earlier` published, or "" if there is none."""
    if earlier is again:
        return "answer lost" if _answer_lost(earlier) else ""
    claim, held, recorded = again.effect("PutItem"), earlier.effect("PutItem"), earlier.effect("UpdateItem")
    if claim is None:
        return "table" if again.table_failed else ""
    if recorded and recorded.at <= claim.at:
        return ""
    if earlier.killed and (held is None or claim.at >= earlier.began + TIMEOUT):
        return "crash"
    if earlier.table_failed:
        return "table"
    return "answer lost" if earlier.status == 503 and _answer_lost(earlier) else ""


def _answer_lost(invocation: Invocation) -> bool:
    return any(call.fault and call.took_effect for call in invocation.made("PutEvents"))


def answered(journal: Journal, invocation: Invocation) -> Iterator[str]:
    """Check how an invocation ended. Returns all violations."""
    delivery, status = invocation.delivery, invocation.status
    if _over_time(invocation):
        yield "over time"
    if any(invocation.made("GetSecretValue")) and len(_readers(journal, invocation, -_INACCURACY)) > MAX_READERS:
        yield "read too often"
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
    """Return whether the invocation met a claim of another invocation that was at work, or could not release it."""
    others = journal.invocations[invocation.delivery.webhook_id]
    return any(_blocks(other, invocation) for other in others if other is not invocation)


def _blocks(other: Invocation, invocation: Invocation) -> bool:
    claim, done = other.effect("PutItem"), other.effect("UpdateItem", "DeleteItem")
    asked = [call.at for call in invocation.made("PutItem")]
    # The receiver compares the claim's expiry with its own clock, which it reads at the start.
    if claim is None or not asked or claim.at > asked[-1] or invocation.began > other.began + TIMEOUT:
        return False
    if done and done.at < asked[0]:
        return False
    at_work = other.ended is None or other.ended >= asked[0]
    return other.table_failed or other.killed or at_work


def _excused(journal: Journal, invocation: Invocation) -> bool:
    """Return whether a fault explains why the delivery was not accepted."""
    if invocation.outcome == "PublishFailed":
        return invocation.faulty("PutEvents")
    if invocation.faulty("GetSecretValue"):
        return True
    recent = _readers(journal, invocation, _INACCURACY)
    if not recent:
        return False
    first, last = (list(recent[-1].made("GetSecretValue"))[end] for end in (0, -1))
    if last.fault:
        return True
    # The process cannot know a secret that was not stored yet when it last read, if it may not read again.
    could_read = not any(invocation.made("GetSecretValue")) and len(recent) < MAX_REFRESHES
    stored = min(journal.stored.get(secret, inf) for secret in invocation.secrets)
    return invocation.outcome == "SignatureMismatch" and first.at < stored and not could_read


def _readers(journal: Journal, invocation: Invocation, inaccuracy: float) -> list[Invocation]:
    """Return the invocations of the same process that read the secret within the period before this one, or in it."""
    since = invocation.began - REFRESH_PERIOD - inaccuracy
    return [reader for reader in journal.readers[invocation.caller] if since < reader.began <= invocation.began]


def lost(journal: Journal, deliveries: Iterable[Delivery]) -> list[Delivery]:
    """Return OpenAI's deliveries whose events never reached the bus."""
    return [of for of in deliveries if not of.intruder and not journal.publications.get(of.webhook_id)]
