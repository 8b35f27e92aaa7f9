"""What goes wrong: faults of single calls to AWS, outages, and killed processes."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, get_args

from evidence.chaos.seeded_random import Draw, pick
from evidence.chaos.services import Answer, Break, Call, Serve

TABLE: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
"""The operations on the deliveries table."""

type Fault = Callable[[Call, Serve], Answer | Break]
"""Returns what the caller sees instead of the answer of `serve`."""


def _instead(seen: Answer | Break) -> Fault:
    return lambda _call, _serve: seen


def _after(seen: Break) -> Fault:
    def fault(call: Call, serve: Serve) -> Break:
        serve(call)
        return seen

    return fault


FAULTS: Final[Mapping[str, Fault]] = {
    "throttled": _instead(Answer.error("ThrottlingException")),
    "error 500": _instead(Answer.error("InternalFailure", status=500)),
    "reset": _instead("reset"),
    "answer lost": _after("reset"),
    "hang": _instead("hang"),
    "hang after effect": _after("hang"),
    "trickle": _instead("trickle"),
    "entry refused": _instead(Answer(200, {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException"}]})),
}

SHARES: Final = {
    "throttled": 0.025,
    "error 500": 0.025,
    "reset": 0.0234,
    "answer lost": 0.0234,
    "hang": 0.0015,
    "hang after effect": 0.0015,
    "trickle": 0.0002,
}
"""Shares of calls with each fault, 10 % in total. A trickle exceeds each of the receiver's timeouts. Lambda ends it."""

PUT_EVENTS_SHARES: Final = {"entry refused": 0.015, **SHARES, "throttled": 0.01}
"""The same for PutEvents."""

OUTAGE: Final = {"error 500": 0.59, "reset": 0.4, "hang": 0.01}


class Outage(NamedTuple):
    name: str
    operations: frozenset[str]
    begin: float
    """In hours since the first delivery, like `end`."""
    end: float
    shares: Mapping[str, float]
    """Shares of calls with each fault. Every call fails."""


OUTAGES: Final = (
    Outage("Secrets Manager", frozenset({"GetSecretValue"}), 2.5, 4.5, OUTAGE),
    Outage("DynamoDB", TABLE, 8.5, 9.5, OUTAGE),
    Outage("EventBridge", frozenset({"PutEvents"}), 11.5, 14.5, {**OUTAGE, "error 500": 0.3, "entry refused": 0.29}),
)

KILLS: Final = 0.014
"""Share of invocations with a planned kill. Some end before it, so 1 % are killed."""

When = Literal["before", "after"]


class Kill(NamedTuple):
    """When the process of an invocation is killed: at a call, or after a number of seconds."""

    operation: str = ""
    when: When = "before"
    seconds: float = 0


_CALLS = ("PutItem", "PutEvents", "UpdateItem")
POINTS: Final = [Kill(operation, when) for operation in _CALLS for when in get_args(When)]


def fault(operation: str, *, hours: float, number: float) -> str:
    """Return the fault of a call, or "" for none. `hours` is the time since the first delivery, `number` is drawn."""
    for outage in OUTAGES:
        if operation in outage.operations and outage.begin <= hours < outage.end:
            return pick(outage.shares, number)
    return pick(PUT_EVENTS_SHARES if operation == "PutEvents" else SHARES, number)


def kill(draw: Draw, *subject: object) -> Kill | None:
    """Return when the process of an invocation is killed, if at all: half the kills are at a call."""
    if draw("kill", *subject) >= KILLS:
        return None
    where = int(draw("where", *subject) * 2 * len(POINTS))
    if where < len(POINTS):
        return POINTS[where]
    return Kill(seconds=draw("when", *subject) * 0.006)  # A delivery takes about 3 ms.
