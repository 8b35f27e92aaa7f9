"""One publication per webhook-id: what the deliveries table holds, and what happens without it."""

import hashlib
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.receiver.conftest import Answer, Clock, Receiver, Stack, Start

NOW = 1750861210


class TestRecord:
    @pytest.mark.parametrize("hours", [72, 8760])
    def test_it_is_kept_for_the_hours_of_the_parameter(self, hours: int, start: "Start", stack: "Stack") -> None:
        start(DEDUPLICATION_HOURS=str(hours)).deliver()
        [record] = stack.records()
        assert record["status"] == "COMPLETED"
        # The attribute that template.yaml has DynamoDB delete by.
        assert int(record["expiration"]) == NOW + hours * 3600

    def test_it_is_of_no_more_use_after_that(self, receiver: "Receiver", stack: "Stack") -> None:
        receiver.deliver()
        receiver.clock.advance(96 * 3600)
        assert receiver.deliver().body == {"outcome": "duplicate"}
        receiver.clock.advance(1)
        assert receiver.deliver().body == {"outcome": "published"}
        assert len(stack.arrived()) == 2

    def test_it_holds_neither_the_payload_nor_the_id(self, receiver: "Receiver", stack: "Stack") -> None:
        receiver.deliver(webhook_id="wh_1")
        [record] = stack.records()
        assert record == {
            # A release that spells it otherwise forgets what was delivered before it.
            "id": f"delivery#{hashlib.sha256(b'"wh_1"').hexdigest()}",
            "status": "COMPLETED",
            "data": '"Published"',
            "expiration": str(NOW + 96 * 3600),
            "in_progress_expiration": str((NOW + 10) * 1000),
        }

    def test_a_refused_delivery_leaves_none(self, receiver: "Receiver", stack: "Stack") -> None:
        receiver.deliver(sent_at=0)
        receiver.deliver(b"[]")
        assert stack.records() == []


class TestKey:
    def test_it_is_the_webhook_id_and_not_the_body(self, receiver: "Receiver", stack: "Stack") -> None:
        bodies = [b'{"id": "evt_1", "type": "x"}', b'{"id": "evt_2", "type": "x"}']
        outcomes = [
            receiver.deliver(body, webhook_id=webhook_id).body["outcome"]
            for webhook_id in ("wh_1", "wh_2")
            for body in bodies
        ]
        assert outcomes == ["published", "duplicate", "published", "duplicate"]
        assert [event["detail"]["id"] for event in stack.arrived()] == ["evt_1", "evt_1"]

    @pytest.mark.parametrize(
        "webhook_id",
        [
            pytest.param("w" * 10_000, id="long"),
            pytest.param('é ☃ 😀 "] # {', id="not ASCII"),
        ],
    )
    def test_any_id_will_do(self, webhook_id: str, receiver: "Receiver", stack: "Stack") -> None:
        assert receiver.deliver(webhook_id=webhook_id).body == {"outcome": "published"}
        assert receiver.deliver(webhook_id=webhook_id).body == {"outcome": "duplicate"}
        assert receiver.deliver(webhook_id=f"{webhook_id}1").body == {"outcome": "published"}
        assert len(stack.arrived()) == 2


class TestWithoutTheTable:
    """A duplicate is better than a loss."""

    @pytest.mark.parametrize("code", ["ThrottlingException", "AccessDeniedException"])
    def test_the_event_is_published_all_the_same(self, code: str, receiver: "Receiver", stack: "Stack") -> None:
        for operation in ("PutItem", "UpdateItem", "DeleteItem"):
            receiver.refuse(operation, code)
        answer = receiver.deliver()
        assert answer.body == {"outcome": "published"}
        assert answer.metrics == {"Published": 1, "DeduplicationUnavailable": 1}
        assert [line["reason"] for line in answer.logs if "reason" in line] == [code]
        assert len(stack.arrived()) == 1

    def test_it_is_left_alone_for_the_rest_of_the_delivery(self, receiver: "Receiver") -> None:
        receiver.time_out("PutItem")
        receiver.deliver()
        assert [call.operation for call in receiver.calls] == ["GetSecretValue", "PutItem", "PutEvents"]

    def test_also_where_the_publish_fails(self, receiver: "Receiver") -> None:
        receiver.time_out("PutItem")
        receiver.refuse("PutEvents")
        answer = receiver.deliver()
        assert answer.metrics == {"PublishFailed": 1, "DeduplicationUnavailable": 1}
        assert [call.operation for call in receiver.calls] == ["GetSecretValue", "PutItem", "PutEvents"]

    def test_but_not_for_the_next_one(self, receiver: "Receiver", stack: "Stack") -> None:
        receiver.refuse("PutItem")
        receiver.deliver(webhook_id="wh_1")
        receiver.recover()
        assert receiver.deliver(webhook_id="wh_2").metrics == {"Published": 1}
        [record] = stack.records()
        assert record["status"] == "COMPLETED"

    def test_a_record_that_cannot_be_written_leaves_the_answer_as_it_is(
        self, receiver: "Receiver", stack: "Stack"
    ) -> None:
        receiver.refuse("UpdateItem")
        answer = receiver.deliver()
        assert (answer.status, answer.metrics) == (200, {"Published": 1, "DeduplicationUnavailable": 1})
        [record] = stack.records()
        assert record["status"] == "INPROGRESS"
        assert len(stack.arrived()) == 1

    def test_a_record_of_another_delivery_is_not_touched(self, receiver: "Receiver", stack: "Stack") -> None:
        """The instance remembers of a delivery only whether it has the claim."""
        receiver.deliver(webhook_id="wh_1")
        receiver.refuse("PutItem")
        receiver.deliver(webhook_id="wh_2")
        assert len(receiver.called("UpdateItem")) == 1
        assert len(stack.records()) == 1


class TestRelease:
    def test_a_failed_publish_gives_the_claim_back(self, receiver: "Receiver", stack: "Stack") -> None:
        receiver.refuse("PutEvents")
        assert receiver.deliver().status == 503
        assert stack.records() == []
        receiver.recover()
        assert receiver.deliver().body == {"outcome": "published"}

    def test_a_duplicate_does_not(self, receiver: "Receiver", stack: "Stack") -> None:
        receiver.deliver()
        receiver.deliver()
        [record] = stack.records()
        assert record["status"] == "COMPLETED"
        assert len(receiver.called("PutEvents")) == 1

    def test_neither_does_a_copy_of_one_in_progress(self, start: "Start", stack: "Stack") -> None:
        first = start()
        first.crash(first.before, "PutEvents")
        assert start().deliver().status == 409
        [record] = stack.records()
        assert record["status"] == "INPROGRESS"


class TestClaimOfACrashedInstance:
    @pytest.mark.parametrize(
        "remaining_ms",
        [
            pytest.param(10_000, id="at the start of the function's time"),
            pytest.param(1, id="at its very end"),
            pytest.param(0, id="past its end"),  # powertools-lambda-python#4759
        ],
    )
    def test_it_frees_itself(self, remaining_ms: int, receiver: "Receiver", stack: "Stack") -> None:
        receiver.crash(receiver.before, "PutEvents", remaining_ms=remaining_ms)
        [record] = stack.records()
        assert record["status"] == "INPROGRESS"
        assert int(record["in_progress_expiration"]) == NOW * 1000 + remaining_ms

        receiver.clock.advance(remaining_ms / 1000)
        answer = receiver.deliver()
        assert (answer.status, answer.headers["retry-after"]) == (409, "10")
        assert stack.arrived() == []

        receiver.clock.advance(0.001)
        assert receiver.deliver().body == {"outcome": "published"}
        assert len(stack.arrived()) == 1
        [record] = stack.records()
        assert record["status"] == "COMPLETED"

    def test_it_can_run_out_while_it_is_looked_at(self, receiver: "Receiver", stack: "Stack") -> None:
        receiver.crash(receiver.before, "PutEvents")
        receiver.after["PutItem"] = lambda: receiver.clock.advance(10.001)
        assert receiver.deliver().body == {"outcome": "published"}
        assert len(stack.arrived()) == 1

    def test_a_table_that_contradicts_itself_is_asked_again_later(self, receiver: "Receiver", stack: "Stack") -> None:
        """It refuses the claim for a record that has run out, each time."""
        receiver.crash(receiver.before, "PutEvents")
        receiver.clock.advance(9.999)
        attempts = len(receiver.called("PutItem"))

        def flicker() -> None:
            receiver.clock.advance(0.002)
            stack.dynamodb.update_item(
                TableName=stack.table,
                Key={"id": {"S": stack.records()[0]["id"]}},
                UpdateExpression="SET in_progress_expiration = :later",
                ExpressionAttributeValues={":later": {"N": str(int(receiver.clock.now * 1000) + 1)}},
            )

        receiver.after["PutItem"] = flicker
        answer = receiver.deliver()
        assert (answer.status, answer.outcomes) == (409, [("InProgress", 1)])
        assert len(receiver.called("PutItem")) == attempts + 3
        assert stack.arrived() == []


def test_copies_that_come_while_the_first_is_being_published_wait_for_it(start: "Start", stack: "Stack") -> None:
    first, other = start(), start()
    publishing, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        publishing.set()
        assert go_on.wait(5)

    first.before["PutEvents"] = hold
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(first.deliver()))
    thread.start()
    assert publishing.wait(5)
    copies = [other.deliver() for _ in range(3)]
    go_on.set()
    thread.join(5)

    assert [copy.status for copy in copies] == [409] * 3
    assert [copy.headers["retry-after"] for copy in copies] == ["10"] * 3
    assert [answer.body for answer in answers] == [{"outcome": "published"}]
    assert other.deliver().body == {"outcome": "duplicate"}
    assert len(stack.arrived()) == 1


def test_a_duplicate_costs_one_request_to_the_table(receiver: "Receiver") -> None:
    receiver.deliver()
    del receiver.calls[:]
    receiver.deliver()
    assert [call.operation for call in receiver.calls] == ["PutItem"]


def test_instances_know_nothing_of_each_other_but_what_the_table_tells(
    start: "Start", clock: "Clock", stack: "Stack"
) -> None:
    for outcome in ("published", "duplicate", "duplicate"):
        assert start().deliver().body == {"outcome": outcome}
        clock.advance(60)
    assert len(stack.arrived()) == 1
