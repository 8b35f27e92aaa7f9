"""What goes wrong: faults of single calls to AWS, outages, and the deaths of receivers."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, get_args

from proof.chance import Chance, pick
from proof.services import Answer, Break, Call, Serve

TABLE: Final = frozenset({"PutItem", "UpdateItem", "DeleteItem"})
"""The operations on the deliveries table."""

type Fault = Callable[[Call, Serve], Answer | Break]
"""What comes of a call, in place of the answer that `serve` would give."""


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
"""Of all calls, 10 %. A trickle outlasts every time limit of the receiver's, and ends with Lambda's."""

REFUSALS: Final = {"entry refused": 0.015, **SHARES, "throttled": 0.01}
"""The same for PutEvents."""

OUTAGE: Final = {"error 500": 0.59, "reset": 0.4, "hang": 0.01}


class Outage(NamedTuple):
    name: str
    operations: frozenset[str]
    begin: float
    """Both in hours since the first delivery."""
    end: float
    shares: Mapping[str, float]
    """Of the calls, by fault: all of them fail."""


OUTAGES: Final = (
    Outage("Secrets Manager", frozenset({"GetSecretValue"}), 2.5, 4.5, OUTAGE),
    Outage("DynamoDB", TABLE, 8.5, 9.5, OUTAGE),
    Outage("EventBridge", frozenset({"PutEvents"}), 11.5, 14.5, {**OUTAGE, "error 500": 0.3, "entry refused": 0.29}),
)

DEATHS: Final = 0.014
"""Share of invocations whose process is to be killed. Some end before it happens: 1 % of them are."""

When = Literal["before", "after"]


class Death(NamedTuple):
    """When an invocation's process is killed: at a call, or after so many seconds."""

    operation: str = ""
    when: When = "before"
    seconds: float = 0


_CALLS = ("PutItem", "PutEvents", "UpdateItem")
POINTS: Final = [Death(operation, when) for operation in _CALLS for when in get_args(When)]


def fault(operation: str, *, hours: float, number: float) -> str:
    """The fault of a call, "" for none: `hours` after the first delivery, by chance's `number`."""
    for outage in OUTAGES:
        if operation in outage.operations and outage.begin <= hours < outage.end:
            return pick(outage.shares, number)
    return pick(REFUSALS if operation == "PutEvents" else SHARES, number)


def death(chance: Chance, *subject: object) -> Death | None:
    """The death of the process in this invocation, if any: half of them at a call, half at any moment."""
    if chance("death", *subject) >= DEATHS:
        return None
    where = int(chance("where", *subject) * 2 * len(POINTS))
    if where < len(POINTS):
        return POINTS[where]
    return Death(seconds=chance("when", *subject) * 0.006)  # a delivery takes about 3 ms
