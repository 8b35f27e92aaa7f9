"""Every way a delivery can go: what it meets, and what must happen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.in_memory_aws import InMemoryAws
from tests.support.receiver_instance import (
    CANARY,
    NOW,
    OTHER_SECRET,
    SECRET,
    SECRET_ARN,
    ReceiverInstance,
    environment,
)

type Meets = Callable[[ReceiverInstance, InMemoryAws], object]


ANSWERS: Final = {
    "Published": (200, None),
    "Duplicate": (200, None),
    "Malformed": (400, None),
    "Unverified": (401, None),
    "SignatureMismatch": (401, None),
    "InProgress": (409, 10),
    "TooLarge": (413, None),
    "PublishFailed": (503, 5),
    "NotConfigured": (503, 30),
}
"""The status and the Retry-After, in seconds, of each outcome."""


@dataclass(frozen=True)
class Scenario:
    """A delivery, what it meets, and what must happen."""

    name: str
    outcome: str
    reason: str | None = None
    """A pattern that matches the reason in the line."""
    also_counts: str | None = None
    """The other metric that the delivery counts."""
    error: str = ""
    """A pattern that matches the other line, if there is one."""
    delivery: Mapping[str, Any] = field(default_factory=dict)
    request: dict[str, Any] | None = None
    """What Lambda is called with, if it is not a delivery."""
    meets: Meets = lambda _receiver, _aws: None
    settings: Mapping[str, str] = field(default_factory=dict)


def _let_keys_expire(receiver: ReceiverInstance, aws: InMemoryAws) -> None:
    """Read the keys, then let Secrets Manager fail when it is time to read them again."""
    receiver.deliver(webhook_id="wh_before")
    aws.arrived()
    receiver.clock.advance(300)
    receiver.refuse("GetSecretValue")


def _fail_to_release(receiver: ReceiverInstance, _aws: InMemoryAws) -> None:
    receiver.refuse("PutEvents", "InternalException")
    receiver.refuse("DeleteItem", "InternalServerError")


MIB: Final = 1024 * 1024
TYPE_OF_LARGE: Final = "large.event"
# The limit less 14 bytes for Time, and the source.
LARGEST: Final = MIB - 14 - len(environment()["EVENT_SOURCE"]) - len(TYPE_OF_LARGE)


def event_of_size(size: int) -> bytes:
    """Return an event of this many bytes."""
    start, end = b'{"type": "%b", "data": "' % TYPE_OF_LARGE.encode(), b'"}'
    return start + b"x" * (size - len(start) - len(end)) + end


_MALFORMED: list[tuple[str, bytes, str]] = [
    ("not JSON", b"canary-7d1f", "not strict JSON"),
    ("empty", b"", "not strict JSON"),
    ("not UTF-8", b'{"type": "x", "data": "canary-7d1f\xff"}', "not strict JSON"),
    ("lone surrogate", b'{"type": "x", "data": "canary-7d1f\\ud800"}', "not strict JSON"),
    ("deep nesting", b'{"type": "x", "data": %b1%b}' % (b"[" * 10_000, b"]" * 10_000), "not strict JSON"),
    ("list", b'["canary-7d1f"]', "not an object with a `type`"),
    ("no type", b'{"data": "canary-7d1f"}', "not an object with a `type`"),
    ("type of 129 characters", b'{"type": "canary-7d1f%b"}' % (b"x" * 118), "not an object with a `type`"),
]

_DRIFTED: list[tuple[str, bytes]] = [
    ("values", b'{"type": "response.completed", "created_at": "canary-7d1f", "data": {"id": ["canary-7d1f"]}}'),
    ("names", b'{"type": "batch.failed", "canary-7d1f": 1, "data": {"canary-7d1f": {"canary-7d1f": 1}}}'),
    (
        "a list",
        b'{"type": "realtime.call.incoming", "id": "evt_1", "created_at": 1, "data": {"call_id": "rtc_1", '
        b'"sip_headers": [{"canary-7d1f": "canary-7d1f"}], "sip_media_security": {"canary-7d1f": "canary-7d1f"}}}',
    ),
    (
        "a literal",
        b'{"type": "agent.session.action_required", "id": "evt_1", "object": "canary-7d1f", "created_at": 1, '
        b'"data": {"id": "sess_1", "required_action": {"type": "canary-7d1f", "canary-7d1f": 1}}}',
    ),
]

_UNVERIFIED: list[tuple[str, str, dict[str, Any]]] = [
    ("too old", "more than 300 s", {"sent_at": NOW - 301}),
    ("too new", "more than 300 s", {"sent_at": NOW + 301}),
    ("no id", "webhook-id is missing", {"headers": {"webhook-id": None}}),
    ("no timestamp", "webhook-timestamp is missing", {"headers": {"webhook-timestamp": None}}),
    ("not in Unix seconds", "not in Unix seconds", {"headers": {"webhook-timestamp": "2025-06-25T14:20:10Z"}}),
    ("no signature", "webhook-signature is missing", {"headers": {"webhook-signature": None}}),
    ("another scheme", "has no v1 signature", {"headers": {"webhook-signature": "v1a,canary-7d1f"}}),
]

_MISMATCHED: list[tuple[str, dict[str, Any]]] = [
    ("another secret", {"secret": OTHER_SECRET}),
    ("another delivery", {"headers": {"webhook-id": "wh_other"}}),
    ("not ASCII", {"headers": {"webhook-signature": "v1,canary-7d1f-é"}}),
    ("larger than the bus accepts", {"body": b"x" * (MIB + 1), "secret": OTHER_SECRET}),
]

_NO_DELIVERY: list[tuple[str, dict[str, Any]]] = [
    ("empty event", {}),
    ("test event of the console", {"key1": CANARY, "key2": "value2", "key3": "value3"}),
    ("no headers", {"version": "2.0", "body": f'{{"type": "{CANARY}"}}', "isBase64Encoded": False}),
    ("headers and body are null", {"headers": None, "body": None}),
]

_PUBLISH_FAILED: list[tuple[str, str, Meets]] = [
    ("throttled", "^ThrottlingException from", lambda receiver, _: receiver.refuse("PutEvents")),
    ("denied", "^AccessDenied from", lambda receiver, _: receiver.refuse("PutEvents", "AccessDenied")),
    ("time-out", r"^ReadTimeoutError \(http://127.0.0.1\) from", lambda receiver, _: receiver.time_out("PutEvents")),
    (
        "entry refused",
        "^InternalFailure from",
        lambda receiver, _: receiver.answer(
            "PutEvents", FailedEntryCount=1, Entries=[{"ErrorCode": "InternalFailure", "ErrorMessage": CANARY}]
        ),
    ),
    (
        "entry without an id or an error",
        "^no EventId from",
        lambda receiver, _: receiver.answer("PutEvents", FailedEntryCount=0, Entries=[{}]),
    ),
]

_STORE: Final = f"aws secretsmanager put-secret-value --region us-east-1 --secret-id {SECRET_ARN}"
_CHECK: Final = f"allows secretsmanager:GetSecretValue on {SECRET_ARN}"

_NOT_CONFIGURED: list[tuple[str, str, Meets]] = [
    (
        "placeholder of the stack",
        f"does not start with `whsec_`.*{_STORE}",
        lambda _, aws: aws.store("Placeholder until the signing secret is stored."),
    ),
    ("white space", f"the secret is empty.*{_STORE}", lambda _, aws: aws.store(" \n")),
    ("invalid secret", f"not base64 of 24 to 64.*{_STORE}", lambda _, aws: aws.store(f"whsec_{CANARY}")),
    ("pasted with v1", f"starts with `v1,`.*{_STORE}", lambda _, aws: aws.store(f"v1,{SECRET}")),
    ("two invalid", f"does not start with `whsec_`.*{_STORE}", lambda _, aws: aws.store(f"{CANARY} {CANARY}")),
    (
        "no secret",
        f"^ResourceNotFoundException from Secrets Manager.*{_CHECK}",
        lambda _, aws: aws.secret.stages.clear(),
    ),
    (
        "denied",
        f"^AccessDeniedException from Secrets Manager.*{_CHECK}",
        lambda receiver, _: receiver.refuse("GetSecretValue", "AccessDeniedException"),
    ),
    (
        "time-out",
        rf"^ReadTimeoutError \(http://127.0.0.1\) from Secrets Manager.*{_CHECK}",
        lambda receiver, _: receiver.time_out("GetSecretValue"),
    ),
]

_DEDUPLICATION_UNAVAILABLE: list[tuple[str, Meets, dict[str, str]]] = [
    ("table refuses claim", lambda receiver, _: receiver.refuse("PutItem"), {}),
    ("no table", lambda _receiver, _aws: None, {"DELIVERIES_TABLE_NAME": "nowhere"}),
    ("table loses record", lambda receiver, _: receiver.time_out("UpdateItem"), {}),
]

SCENARIOS: Final = [
    Scenario("published", "Published"),
    Scenario("published: base64 body", "Published", delivery={"encoded": True}),
    Scenario(
        "published: unknown type",
        "Published",
        delivery={"body": b'{"type": "response.dreamt", "data": "canary-7d1f"}'},
    ),
    *(
        Scenario(
            f"published: schema drift in {where}",
            "Published",
            also_counts="SchemaDrift",
            delivery={"body": body},
        )
        for where, body in _DRIFTED
    ),
    *(
        Scenario(
            f"published: {name}",
            "Published",
            also_counts="DeduplicationUnavailable",
            error="deliveries table failed",
            meets=meets,
            settings=settings,
        )
        for name, meets, settings in _DEDUPLICATION_UNAVAILABLE
    ),
    Scenario(
        "published: keys cannot be refreshed",
        "Published",
        error="could not be read",
        meets=_let_keys_expire,
    ),
    Scenario(
        "published: one of two secrets invalid",
        "Published",
        also_counts="SecretMalformed",
        error="malformed",
        meets=lambda _, aws: aws.store(f"{SECRET} {CANARY}"),
    ),
    Scenario("duplicate", "Duplicate", meets=lambda receiver, _: receiver.deliver()),
    *(
        Scenario(f"malformed: {name}", "Malformed", reason, delivery={"body": body, "encoded": True})
        for name, body, reason in _MALFORMED
    ),
    *(
        Scenario(f"unverified: {name}", "Unverified", reason, delivery=delivery)
        for name, reason, delivery in _UNVERIFIED
    ),
    *(
        Scenario(f"mismatch: {name}", "SignatureMismatch", "no active signing secret matches", delivery=delivery)
        for name, delivery in _MISMATCHED
    ),
    *(
        Scenario(f"unverified: {name}", "Unverified", "webhook-id is missing", request=request)
        for name, request in _NO_DELIVERY
    ),
    Scenario(
        "in progress",
        "InProgress",
        "another copy of this delivery is being published",
        meets=lambda receiver, _: receiver.crash(receiver.before, "PutEvents"),
    ),
    Scenario(
        "malformed: detail that EventBridge cannot read",
        "Malformed",
        "EventBridge cannot read the body",
        meets=lambda receiver, _: receiver.answer(
            "PutEvents", FailedEntryCount=1, Entries=[{"ErrorCode": "MalformedDetail", "ErrorMessage": CANARY}]
        ),
    ),
    Scenario(
        "too large: entry above the limit of the region",
        "TooLarge",
        "larger than EventBridge accepts in this region",
        meets=lambda receiver, _: receiver.refuse(
            "PutEvents", "ValidationException", "Total size of the entries in the request is over the limit."
        ),
    ),
    Scenario(
        "too large: entry",
        "TooLarge",
        f"does not fit in the {MIB} bytes of an event bus entry",
        delivery={"body": event_of_size(LARGEST + 1)},
    ),
    *(
        Scenario(f"publish failed: {name}", "PublishFailed", reason, meets=meets)
        for name, reason, meets in _PUBLISH_FAILED
    ),
    Scenario(
        "publish failed: no bus",
        "PublishFailed",
        "^ResourceNotFoundException from PutEvents on bus nowhere.*check that the bus exists",
        settings={"EVENT_BUS_NAME": "nowhere"},
    ),
    Scenario(
        "publish failed: claim stays",
        "PublishFailed",
        "^InternalException from",
        also_counts="DeduplicationUnavailable",
        error="deliveries table failed",
        meets=_fail_to_release,
    ),
    *(
        Scenario(f"not configured: {name}", "NotConfigured", reason, meets=meets)
        for name, reason, meets in _NOT_CONFIGURED
    ),
]
