"""The promises in README. The sixth is in test_privacy.py. test_scenarios.py checks the first two in each scenario.

tests/integration/receiver/test_network_faults.py tests the third with real connections.
"""

import hmac
import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping

import pytest

from tests.support.in_memory_aws import InMemoryAws
from tests.support.receiver_instance import EVENT_ID, Answer, Clock, ReceiverInstance, Start, ids
from tests.support.templates import deduplication_hours


class TestPromise1OnlySignedDeliveriesReachTheBus:
    def test_change_of_any_byte_is_rejected(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        genuine = receiver.delivery()
        headers = genuine["headers"]
        forgeries = [genuine | {"body": body} for body in _changed(genuine["body"])] + [
            genuine | {"headers": headers | {name: value}}
            for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
            for value in _changed(headers[name])
        ]
        assert len(forgeries) == 241

        assert {receiver(forgery).status for forgery in forgeries} == {401}
        assert receiver.called("PutEvents") == []
        assert aws.arrived() == []
        assert receiver(genuine).status == 200

    @pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!!"])
    def test_empty_secret_accepts_no_signature(self, secret: str, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        receiver.answer("GetSecretValue", SecretString=secret)
        delivery = receiver.delivery()
        headers = delivery["headers"]
        # openai-python 3.54 accepts this signature.
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{delivery['body']}"
        signature = b64encode(hmac.digest(b"", signed.encode(), "sha256")).decode()
        answer = receiver.deliver(headers={"webhook-signature": f"v1,{signature}"})
        assert (answer.status, aws.arrived()) == (503, [])


def _changed(text: str) -> Iterator[str]:
    """Yield the text with each of its characters changed in turn."""
    for i, character in enumerate(text):
        yield text[:i] + chr(ord(character) ^ 1) + text[i + 1 :]


_PUBLISHING: Mapping[str, Callable[[ReceiverInstance], object]] = {
    "works": lambda _: None,
    "is throttled": lambda receiver: receiver.refuse("PutEvents"),
    "times out": lambda receiver: receiver.time_out("PutEvents"),
    "loses its answer": lambda receiver: receiver.lose_answer("PutEvents"),
    "refuses the entry": lambda receiver: receiver.answer("PutEvents", Entries=[{"ErrorCode": "InternalException"}]),
    "gives no id": lambda receiver: receiver.answer("PutEvents", Entries=[{}]),
}

_TABLE: Mapping[str, Callable[[ReceiverInstance], object]] = {
    "works": lambda _: None,
    "refuses the claim": lambda receiver: receiver.refuse("PutItem"),
    "loses the answer to the claim": lambda receiver: receiver.lose_answer("PutItem"),
    "refuses the record": lambda receiver: receiver.refuse("UpdateItem"),
    "does not release the claim": lambda receiver: receiver.time_out("DeleteItem"),
}


class TestPromise2A2xxMeansThatTheEventIsOnTheBus:
    @pytest.mark.parametrize("publishing", _PUBLISHING)
    def test_answer_is_true_while_bus_and_table_fail(
        self, publishing: str, receiver: ReceiverInstance, aws: InMemoryAws
    ) -> None:
        for number, (table, break_table) in enumerate(_TABLE.items()):
            case = f"the table {table}"
            event_id = f"evt_{number}"
            body = json.dumps({"id": event_id, "type": "x"}).encode()
            _PUBLISHING[publishing](receiver)
            break_table(receiver)
            answer = receiver.deliver(body, webhook_id=f"wh_{number}")
            assert (answer.status == 200) == (publishing == "works"), case
            assert (event_id in ids(aws.arrived())) == (publishing in {"works", "loses its answer"}), case

            # When everything works again and the claim has ended, the event is accepted.
            receiver.recover()
            if answer.status != 200:
                receiver.clock.advance(11)
                assert receiver.deliver(body, webhook_id=f"wh_{number}").body == {"outcome": "published"}, case
                assert event_id in ids(aws.arrived()), case

    def test_copy_of_an_unpublished_event_is_no_duplicate(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        receiver.refuse("PutEvents")
        assert [receiver.deliver().status for _ in range(3)] == [503, 503, 503]
        receiver.recover()
        assert receiver.deliver().body == {"outcome": "published"}
        assert len(aws.arrived()) == 1


class TestPromise3AnythingElseIsRetried:
    def test_outage_of_every_service_loses_nothing(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        for operation in ("GetSecretValue", "PutItem", "PutEvents"):
            receiver.time_out(operation)
        answers = []
        for hours in (0, 1, 2, 4, 8, 16, 32):
            receiver.clock.advance(hours * 3600)
            answers.append(receiver.deliver().status)
        assert answers == [503] * 7
        receiver.recover()
        receiver.clock.advance(5)
        assert receiver.deliver().body == {"outcome": "published"}
        assert ids(aws.arrived()) == [EVENT_ID]

    def test_crash_loses_nothing(self, start: Start, clock: Clock, aws: InMemoryAws) -> None:
        dying = start()
        dying.crash(dying.before, "PutEvents")
        successor = start()
        assert successor.deliver().status == 409
        clock.advance(10.001)
        assert successor.deliver().body == {"outcome": "published"}
        assert ids(aws.arrived()) == [EVENT_ID]


class TestPromise4ARetryOrAConcurrentCopyIsPublishedOnce:
    @pytest.mark.parametrize("hours", [0, 1, 71, 72, deduplication_hours()])
    def test_retry_is_duplicate_over_the_whole_window(
        self, hours: int, start: Start, clock: Clock, aws: InMemoryAws
    ) -> None:
        assert start().deliver().body == {"outcome": "published"}
        clock.advance(hours * 3600)
        assert start().deliver().body == {"outcome": "duplicate"}
        assert ids(aws.arrived()) == [EVENT_ID]

    @pytest.mark.parametrize(
        ("when", "copy", "original"),
        [
            pytest.param(("before", "PutItem"), (200, "published"), (200, "duplicate"), id="before the claim"),
            pytest.param(("after", "PutItem"), (409, "InProgress"), (200, "published"), id="after the claim"),
            pytest.param(("before", "PutEvents"), (409, "InProgress"), (200, "published"), id="before publishing"),
            pytest.param(("after", "PutEvents"), (409, "InProgress"), (200, "published"), id="after publishing"),
            pytest.param(("before", "UpdateItem"), (409, "InProgress"), (200, "published"), id="before recording"),
            pytest.param(("after", "UpdateItem"), (200, "duplicate"), (200, "published"), id="after recording"),
        ],
    )
    def test_copy_at_any_moment_is_published_once(
        self,
        when: tuple[str, str],
        copy: tuple[int, str],
        original: tuple[int, str],
        start: Start,
        aws: InMemoryAws,
    ) -> None:
        first, second = start(), start()
        copies: list[Answer] = []
        moment, operation = when
        hooks = first.before if moment == "before" else first.after
        hooks[operation] = lambda: copies.append(second.deliver())

        answer = first.deliver()
        assert (answer.status, *answer.body.values()) == original
        [answer] = copies
        assert (answer.status, *answer.body.values()) == copy
        assert answer.headers.get("retry-after") == ("10" if answer.status == 409 else None)
        assert second.deliver().body == {"outcome": "duplicate"}
        assert ids(aws.arrived()) == [EVENT_ID]

    def test_crash_between_publish_and_record_publishes_twice(
        self, start: Start, clock: Clock, aws: InMemoryAws
    ) -> None:
        dying = start()
        dying.crash(dying.after, "PutEvents")
        clock.advance(10.001)
        assert start().deliver().body == {"outcome": "published"}
        assert ids(aws.arrived()) == [EVENT_ID, EVENT_ID]


class TestPromise5NewEventTypesNeedNoRelease:
    @pytest.mark.parametrize(
        "type_",
        [
            pytest.param("dream.completed", id="a name like OpenAI's"),
            pytest.param("Rêve / ☃ 😀", id="any text"),
            pytest.param("é" * 128, id="128 characters"),
        ],
    )
    def test_detail_type_is_the_type(self, type_: str, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        fields = {"id": "evt_1", "type": type_, "created_at": 1750861210, "dreams": [{"of": "sheep"}]}
        answer = receiver.deliver(json.dumps(fields).encode())
        assert (answer.status, answer.metrics) == (200, {"Published": 1})
        [event] = aws.arrived()
        assert (event["detail-type"], event["detail"]) == (type_, fields)

    def test_new_fields_are_published(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        fields = {
            "id": "evt_1",
            "type": "response.completed",
            "created_at": 1750861210,
            "data": {"id": "resp_1", "mood": "good"},
            "region": "eu",
        }
        assert receiver.deliver(json.dumps(fields).encode()).metrics == {"Published": 1}
        [event] = aws.arrived()
        assert event["detail"] == fields
