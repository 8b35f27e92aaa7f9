"""Each webhook id is published once: the records in the deliveries table, and what happens without the table."""

import hashlib

import pytest

from tests.support.in_memory_aws import InMemoryAws
from tests.support.receiver_instance import NOW, WEBHOOK_ID, LambdaContext, ReceiverInstance, Start
from tests.support.templates import RECEIVER, deduplication_hours

WINDOW = deduplication_hours() * 3600  # seconds


class TestRecord:
    @pytest.mark.parametrize("hours", [72, 8760])
    def test_record_is_kept_for_the_hours_of_the_setting(self, hours: int, start: Start, aws: InMemoryAws) -> None:
        start(DEDUPLICATION_HOURS=str(hours)).deliver()
        [record] = aws.records()
        assert record["status"] == "COMPLETED"
        time_to_live = RECEIVER.untransformed().properties("DeliveriesTable")["TimeToLiveSpecification"]
        assert int(record[time_to_live["AttributeName"]]) == NOW + hours * 3600

    def test_record_is_ignored_after_the_window(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        receiver.deliver()
        receiver.clock.advance(WINDOW)
        assert receiver.deliver().body == {"outcome": "duplicate"}
        receiver.clock.advance(1)
        assert receiver.deliver().body == {"outcome": "published"}
        assert len(aws.arrived()) == 2

    def test_record_contains_neither_payload_nor_webhook_id(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        context = LambdaContext()
        receiver(receiver.delivery(webhook_id="wh_1"), context)
        [event] = aws.arrived()
        [record] = aws.records()
        assert record == {
            # With another spelling, a new release would forget earlier deliveries.
            "id": f"delivery#{hashlib.sha256(b'"wh_1"').hexdigest()}",
            "status": "COMPLETED",
            "data": f'"{event["id"]}"',
            "expiration": str(NOW + WINDOW),
            "in_progress_expiration": str((NOW + 10) * 1000),
            "claimant": context.aws_request_id,
        }


class TestKey:
    def test_key_is_the_webhook_id_and_not_the_body(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        bodies = [b'{"id": "evt_1", "type": "x"}', b'{"id": "evt_2", "type": "x"}']
        outcomes = [
            receiver.deliver(body, webhook_id=webhook_id).body["outcome"]
            for webhook_id in ("wh_1", "wh_2")
            for body in bodies
        ]
        assert outcomes == ["published", "duplicate", "published", "duplicate"]
        assert [event["detail"]["id"] for event in aws.arrived()] == ["evt_1", "evt_1"]

    @pytest.mark.parametrize(
        "webhook_id",
        [
            pytest.param("w" * 10_000, id="long"),
            pytest.param('é ☃ 😀 "] # {', id="not ASCII"),
        ],
    )
    def test_any_webhook_id_is_deduplicated(
        self, webhook_id: str, receiver: ReceiverInstance, aws: InMemoryAws
    ) -> None:
        assert receiver.deliver(webhook_id=webhook_id).body == {"outcome": "published"}
        assert receiver.deliver(webhook_id=webhook_id).body == {"outcome": "duplicate"}
        assert receiver.deliver(webhook_id=f"{webhook_id}1").body == {"outcome": "published"}
        assert len(aws.arrived()) == 2


class TestWithoutTheTable:
    """A duplicate beats a loss."""

    def test_event_is_published_without_the_table(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        for operation in ("PutItem", "UpdateItem", "DeleteItem"):
            receiver.refuse(operation, "AccessDeniedException")
        answer = receiver.deliver()
        assert answer.metrics == {"Published": 1, "DeduplicationUnavailable": 1}
        [error] = answer.errors
        assert (error["level"], error["reason"]) == ("ERROR", "AccessDeniedException")
        assert error["webhook_id"] == WEBHOOK_ID
        assert len(aws.arrived()) == 1

    def test_failed_table_is_not_called_again_for_a_delivery(self, receiver: ReceiverInstance) -> None:
        receiver.time_out("PutItem")
        receiver.deliver()
        assert [call.operation for call in receiver.calls] == ["GetSecretValue", "PutItem", "PutEvents"]

    def test_failed_table_is_not_called_to_release_a_claim(self, receiver: ReceiverInstance) -> None:
        receiver.time_out("PutItem")
        receiver.refuse("PutEvents")
        answer = receiver.deliver()
        assert answer.metrics == {"PublishFailed": 1, "DeduplicationUnavailable": 1}
        assert [call.operation for call in receiver.calls] == ["GetSecretValue", "PutItem", "PutEvents"]

    def test_next_delivery_calls_the_table_again(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        receiver.refuse("PutItem")
        receiver.deliver(webhook_id="wh_1")
        receiver.recover()
        assert receiver.deliver(webhook_id="wh_2").metrics == {"Published": 1}
        [record] = aws.records()
        assert record["status"] == "COMPLETED"

    def test_lost_record_does_not_change_the_answer(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        receiver.refuse("UpdateItem")
        answer = receiver.deliver()
        assert (answer.status, answer.metrics) == (200, {"Published": 1, "DeduplicationUnavailable": 1})
        [record] = aws.records()
        assert record["status"] == "INPROGRESS"
        assert len(aws.arrived()) == 1


class TestRelease:
    def test_duplicate_keeps_claim(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        receiver.deliver()
        receiver.deliver()
        [record] = aws.records()
        assert record["status"] == "COMPLETED"
        assert len(receiver.called("PutEvents")) == 1

    def test_copy_in_progress_keeps_claim(self, start: Start, aws: InMemoryAws) -> None:
        first = start()
        first.crash(first.before, "PutEvents")
        assert start().deliver().status == 409
        [record] = aws.records()
        assert record["status"] == "INPROGRESS"


class TestCrash:
    @pytest.mark.parametrize(
        "remaining_ms",
        [
            pytest.param(10_000, id="all of the time left"),
            pytest.param(1, id="1 ms left"),
            pytest.param(0, id="no time left"),  # powertools-lambda-python#4759
        ],
    )
    def test_claim_ends_with_the_invocation(
        self, remaining_ms: int, receiver: ReceiverInstance, aws: InMemoryAws
    ) -> None:
        receiver.crash(receiver.before, "PutEvents", remaining_ms=remaining_ms)
        [record] = aws.records()
        assert record["status"] == "INPROGRESS"
        assert int(record["in_progress_expiration"]) == NOW * 1000 + remaining_ms

        receiver.clock.advance(remaining_ms / 1000)
        answer = receiver.deliver()
        assert (answer.status, answer.headers["retry-after"]) == (409, "10")
        assert aws.arrived() == []

        receiver.clock.advance(0.001)
        assert receiver.deliver().body == {"outcome": "published"}
        assert len(aws.arrived()) == 1
        [record] = aws.records()
        assert record["status"] == "COMPLETED"

    def test_claim_can_end_while_it_is_read(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        receiver.crash(receiver.before, "PutEvents")
        receiver.after["PutItem"] = lambda: receiver.clock.advance(10.001)
        assert receiver.deliver().body == {"outcome": "published"}
        assert len(aws.arrived()) == 1

    def test_inconsistent_table_is_in_progress(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        """The table refuses the claim each time, because of a record whose claim has ended."""
        receiver.crash(receiver.before, "PutEvents")
        receiver.clock.advance(9.999)
        attempts = len(receiver.called("PutItem"))

        def flicker() -> None:
            receiver.clock.advance(0.002)
            [(key, item)] = aws.table.items.items()
            later = {"N": str(int(receiver.clock.now * 1000) + 1)}
            aws.table.items[key] = {**item, "in_progress_expiration": later}

        receiver.after["PutItem"] = flicker
        answer = receiver.deliver()
        assert (answer.status, answer.outcomes) == (409, [("InProgress", 1)])
        assert len(receiver.called("PutItem")) == attempts + 3
        assert aws.arrived() == []


def test_duplicate_costs_one_request(receiver: ReceiverInstance) -> None:
    receiver.deliver()
    del receiver.calls[:]
    receiver.deliver()
    assert [call.operation for call in receiver.calls] == ["PutItem"]
