"""Any sequence of deliveries, retries, forgeries, faults and rotations, against a model of the right outcomes."""

import itertools
import json
from typing import Any

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.support.in_memory_aws import InMemoryAws
from tests.support.receiver_instance import ReceiverInstance, ids
from tests.support.templates import deduplication_hours

SECRETS = [
    "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c=",
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
]
UNKNOWN = "whsec_" + "Zm9yZ2Vk" * 4
WINDOW = deduplication_hours() * 3600  # seconds

TYPES = st.sampled_from(["response.completed", "batch.failed", "tomorrow.invented"])
BODIES = st.sampled_from([b"", b"[]", b'{"type": ""}', b'{"type": "x", "n": NaN}', b"\xff"])
FORGERIES: st.SearchStrategy[tuple[str, dict[str, Any]]] = st.sampled_from(
    [
        ("SignatureMismatch", {"secret": UNKNOWN}),
        ("Unverified", {"sent_at": 0}),
        ("SignatureMismatch", {"headers": {"webhook-id": "wh_other"}}),
        ("SignatureMismatch", {"headers": {"webhook-signature": "v1,forged"}}),
        ("Unverified", {"headers": {"webhook-timestamp": None}}),
    ]
)

_numbers = itertools.count()


class Deliveries(RuleBasedStateMachine):
    receiver: ReceiverInstance
    aws: InMemoryAws
    sent = Bundle("sent")

    def __init__(self) -> None:
        super().__init__()
        self.remembered_until: dict[str, float] = {}
        self.on_bus: list[str] = []
        """The ids of the events that must be on the bus, with repeats."""
        self.bus = self.table = self.secrets_manager = "works"
        self.receiver.recover()
        self.secret = 0
        self.aws.store(SECRETS[self.secret])
        self.rotate()

    @rule(how=st.sampled_from(["works", "refuses", "loses its answers"]))
    def change_bus(self, how: str) -> None:
        self.bus = how
        self._fail()

    @rule(how=st.sampled_from(["works", "refuses"]))
    def change_table(self, how: str) -> None:
        self.table = how
        self._fail()

    @rule(how=st.sampled_from(["works", "refuses"]))
    def change_secrets_manager(self, how: str) -> None:
        """While Secrets Manager refuses, the last key stays in use."""
        if how == "refuses" and self.secrets_manager == "works":
            self.receiver.clock.advance(300)
            self.send(event_type="batch.failed", previous=False)
        self.secrets_manager = how
        self._fail()

    def _fail(self) -> None:
        self.receiver.recover()
        if self.secrets_manager == "refuses":
            self.receiver.refuse("GetSecretValue")
        if self.bus == "refuses":
            self.receiver.refuse("PutEvents")
        elif self.bus == "loses its answers":
            self.receiver.lose_answer("PutEvents")
        if self.table == "refuses":
            self.receiver.refuse("PutItem")

    @precondition(lambda self: self.secrets_manager == "works")
    @rule()
    def rotate(self) -> None:
        self.secret = (self.secret + 1) % len(SECRETS)
        self.aws.store(SECRETS[self.secret])
        # The keys may have been refreshed twice just now, and the next refresh is possible in 10 s.
        self.receiver.clock.advance(10)

    @rule(seconds=st.sampled_from([1, 60, 300, WINDOW - 300, WINDOW]))
    def wait(self, seconds: int) -> None:
        self.receiver.clock.advance(seconds)

    @rule(target=sent, event_type=TYPES, previous=st.booleans())
    def send(self, *, event_type: str, previous: bool) -> tuple[str, bytes]:
        number = next(_numbers)
        webhook_id = f"wh_{number}"
        body = json.dumps({"id": f"evt_{number}", "type": event_type}).encode()
        # Another key than the last needs a refresh.
        previous = previous and self.secrets_manager == "works"
        self._deliver(webhook_id, body, SECRETS[self.secret - previous])
        return webhook_id, body

    @rule(delivery=sent)
    def send_again(self, delivery: tuple[str, bytes]) -> None:
        self._deliver(*delivery, SECRETS[self.secret])

    @rule(sent=sent, forgery=FORGERIES)
    def forge(self, sent: tuple[str, bytes], forgery: tuple[str, dict[str, Any]]) -> None:
        webhook_id, body = sent
        outcome, delivery = forgery
        self._expect(401, outcome, body, webhook_id=webhook_id, **({"secret": SECRETS[self.secret]} | delivery))

    @rule(body=BODIES)
    def send_no_event(self, body: bytes) -> None:
        self._expect(400, "Malformed", body, secret=SECRETS[self.secret], encoded=True)

    def _deliver(self, webhook_id: str, body: bytes, secret: str) -> None:
        now = self.receiver.clock.now
        if self.table == "works" and now <= self.remembered_until.get(webhook_id, 0):
            status, outcome = 200, "Duplicate"
        else:
            status, outcome = (200, "Published") if self.bus == "works" else (503, "PublishFailed")
            if self.bus != "refuses":
                self.on_bus.append(json.loads(body)["id"])
            if self.bus == self.table == "works":
                self.remembered_until[webhook_id] = now + WINDOW
        self._expect(status, outcome, body, webhook_id=webhook_id, secret=secret)

    def _expect(self, status: int, outcome: str, body: bytes, **delivery: Any) -> None:
        self.receiver.calls.clear()
        answer = self.receiver.deliver(body, **delivery)
        assert (answer.status, answer.outcomes) == (status, [(outcome, 1)]), answer.line
        if status in {400, 401}:
            assert {call.operation for call in self.receiver.calls} <= {"GetSecretValue"}

    def teardown(self) -> None:
        assert sorted(ids(self.aws.arrived())) == sorted(self.on_bus)


def test_every_outcome_is_as_the_model_says(receiver: ReceiverInstance, aws: InMemoryAws) -> None:
    Deliveries.receiver, Deliveries.aws = receiver, aws
    run_state_machine_as_test(
        Deliveries,
        settings=settings(
            database=None,
            deadline=None,
            derandomize=True,
            max_examples=100,
            stateful_step_count=20,
            suppress_health_check=list(HealthCheck),
        ),
    )
