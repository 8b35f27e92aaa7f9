"""What happens to a delivery, step by step: size, verify, unwrap, publish once."""

import pytest

from tests.support.in_memory_aws import InMemoryAws
from tests.support.receiver_instance import BODY, OTHER_SECRET, SECRET, ReceiverInstance
from tests.support.scenarios import LARGEST, MIB, event_of_size


class TestSize:
    @pytest.mark.parametrize(("signature", "status"), [(None, 401), ("v1,forged", 401), ("", 413)])
    def test_only_a_signed_body_is_too_large(
        self, signature: str | None, status: int, receiver: ReceiverInstance
    ) -> None:
        headers = {} if signature == "" else {"webhook-signature": signature}
        # Lambda accepts no larger request.
        assert receiver.deliver(event_of_size(6 * MIB), headers=headers).status == status
        assert receiver.called("PutItem") == []

    def test_entry_at_limit_is_published(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        assert receiver.deliver(event_of_size(LARGEST)).body == {"outcome": "published"}
        assert len(aws.arrived()) == 1


class TestVerify:
    def test_rotated_secret_works_at_once(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        assert receiver.deliver(webhook_id="wh_1").status == 200
        aws.store(OTHER_SECRET)
        for number, secret in enumerate([OTHER_SECRET, SECRET]):
            assert receiver.deliver(webhook_id=f"wh_after_{number}", secret=secret).status == 200

    def test_event_names_the_endpoint_whose_secret_verified_it(
        self, receiver: ReceiverInstance, aws: InMemoryAws
    ) -> None:
        aws.store(f"project-a={SECRET} {OTHER_SECRET}")
        for number, secret in enumerate([SECRET, OTHER_SECRET]):
            assert receiver.deliver(webhook_id=f"wh_{number}", secret=secret).status == 200
        assert [event["resources"] for event in aws.arrived()] == [["openai:endpoint/project-a"], []]

    def test_flood_of_forgeries_reads_the_secret_twice_in_ten_seconds(self, receiver: ReceiverInstance) -> None:
        minutes, forgeries = 5, 600
        statuses = set()
        for _ in range(forgeries):
            statuses.add(receiver.deliver(headers={"webhook-signature": "v1,forged"}).status)
            receiver.clock.advance(60 * minutes / forgeries)
        assert statuses == {401}
        stages = [call.parameters["VersionStage"] for call in receiver.calls]  # of all calls to AWS
        assert {stage: stages.count(stage) for stage in stages} == {
            "AWSCURRENT": minutes * 12 + 1,  # and the first read
            "AWSPENDING": minutes * 12,
            "AWSPREVIOUS": minutes * 12,
        }


class TestWork:
    @pytest.mark.parametrize(
        ("body", "signatures", "status"),
        [
            pytest.param(b'{"type": "x"}', 1_000, 200, id="a thousand signatures"),
            pytest.param(b'{"type": "x", "data": %b1%b}' % (b"[" * 500_000, b"]" * 500_000), 1, 400, id="nesting"),
            pytest.param(b'{"type": "x", "data": {%b"z": 1}}' % (b'"a": 1, ' * 100_000), 1, 200, id="many fields"),
            pytest.param(b'{"type": "x", "data": %b}' % (b"9" * 1_000_000), 1, 400, id="a long number"),
            pytest.param(b"[" * 1_000_000, 1, 400, id="unclosed"),
        ],
    )
    def test_demanding_delivery_is_answered(
        self, body: bytes, signatures: int, status: int, receiver: ReceiverInstance
    ) -> None:
        delivery = receiver.delivery(body)
        headers = delivery["headers"]
        headers["webhook-signature"] = "v1,forged " * (signatures - 1) + headers["webhook-signature"]
        assert receiver(delivery).status == status

    def test_unexpected_error_is_not_hidden(self, receiver: ReceiverInstance) -> None:
        def fail() -> None:
            raise RuntimeError("unexpected")

        receiver.before["PutEvents"] = fail
        with pytest.raises(RuntimeError, match="unexpected"):
            receiver.deliver(BODY)
