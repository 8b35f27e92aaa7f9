"""The line of a delivery, the other lines, and what the function makes of unusual requests.

test_scenarios.py has the answers.
"""

import pytest

from tests.support.in_memory_aws import InMemoryAws
from tests.support.receiver_instance import (
    NOW,
    SECRET,
    WEBHOOK_ID,
    LambdaContext,
    ReceiverInstance,
    Start,
    environment,
)


class TestLine:
    def test_line_of_published_delivery_is_complete(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        context = LambdaContext()
        line = receiver(receiver.delivery(), context).line
        [event] = aws.arrived()
        assert line == {
            "_aws": {
                "Timestamp": NOW * 1000,
                "CloudWatchMetrics": [
                    {
                        "Namespace": environment()["POWERTOOLS_METRICS_NAMESPACE"],
                        "Dimensions": [["service"]],
                        "Metrics": [{"Name": "Published", "Unit": "Count"}],
                    }
                ],
            },
            "service": "receiver",
            "Published": [1],
            "request_id": context.aws_request_id,
            "cold_start": True,
            "webhook_id": WEBHOOK_ID,
            "event_type": "response.completed",
            "eventbridge_id": event["id"],
            "level": "INFO",
            "outcome": "Published",
            "duration_ms": 0.0,
        }

    def test_metrics_have_the_time_of_the_start(self, receiver: ReceiverInstance) -> None:
        receiver.after["PutEvents"] = lambda: receiver.clock.advance(1)
        assert receiver.deliver().line["_aws"]["Timestamp"] == NOW * 1000

    def test_line_names_the_endpoint(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        assert "endpoint" not in receiver.deliver().line
        aws.store(f"project-a={SECRET}")
        receiver.clock.advance(300)
        assert receiver.deliver().line["endpoint"] == "project-a"

    def test_line_fits_in_560_bytes(self, receiver: ReceiverInstance) -> None:
        receiver.deliver()
        assert len("".join(receiver.output).strip()) <= 560

    def test_duration_is_in_milliseconds(self, receiver: ReceiverInstance) -> None:
        receiver.after["PutEvents"] = lambda: receiver.clock.advance(1.234)
        assert receiver.deliver().line["duration_ms"] == 1234.0

    def test_only_the_first_delivery_is_a_cold_start(self, receiver: ReceiverInstance) -> None:
        assert [receiver.deliver().line["cold_start"] for _ in range(3)] == [True, False, False]

    def test_properties_of_last_delivery_are_cleared(self, receiver: ReceiverInstance) -> None:
        receiver.deliver(sent_at=0)
        line = receiver.deliver().line
        assert "reason" not in line
        line = receiver({}).line
        assert {"webhook_id", "event_type", "eventbridge_id"}.isdisjoint(line)

    def test_properties_of_a_crash_are_cleared(self, receiver: ReceiverInstance) -> None:
        receiver.crash(receiver.before, "UpdateItem")
        line = receiver({}).line
        assert {"event_type", "eventbridge_id"}.isdisjoint(line)

    def test_rejected_delivery_is_named(self, receiver: ReceiverInstance) -> None:
        assert receiver.deliver(sent_at=0).line["webhook_id"] == WEBHOOK_ID

    def test_webhook_id_is_cut_to_128_characters(self, receiver: ReceiverInstance) -> None:
        assert receiver.deliver(webhook_id="w" * 129).line["webhook_id"] == "w" * 128

    def test_any_webhook_id_can_be_written(self, receiver: ReceiverInstance) -> None:
        assert receiver.deliver(headers={"webhook-id": "\ud800 é"}).line["webhook_id"] == "\ud800 é"

    def test_drift_names_fields_and_no_values(self, receiver: ReceiverInstance) -> None:
        answer = receiver.deliver(b'{"type": "batch.failed", "id": "evt_1", "created_at": "1", "data": {}}')
        assert answer.line["drift"] == "created_at: int_type; data.id: missing"
        assert (answer.line["level"], answer.errors) == ("INFO", [])

    def test_drift_fits_in_a_line(self, receiver: ReceiverInstance) -> None:
        # CloudWatch Logs accepts 256 KB a line in every region.
        headers = b",".join([b"{}"] * 10_000)
        line = receiver.deliver(
            b'{"type": "realtime.call.incoming", "id": "evt_1", "created_at": 1, '
            b'"data": {"call_id": "c", "sip_headers": [%b]}}' % headers
        ).line
        assert line["drift"].startswith("data.sip_headers.0.name: missing; data.sip_headers.0.value: missing")
        assert len(line["drift"]) < 100_000


class TestTimestamp:
    def test_setting_changes_tolerance(self, start: Start) -> None:
        receiver = start(TIMESTAMP_TOLERANCE_SECONDS="60")
        assert [receiver.deliver(sent_at=NOW + offset).status for offset in (-61, -60, 60, 61)] == [401, 200, 200, 401]

    def test_part_of_a_second_is_ignored(self, receiver: ReceiverInstance) -> None:
        receiver.clock.advance(300.9)
        assert receiver.deliver(sent_at=NOW).status == 200


def test_header_names_are_not_case_sensitive(receiver: ReceiverInstance) -> None:
    delivery = receiver.delivery()
    delivery["headers"] = {name.title(): value for name, value in delivery["headers"].items()}
    answer = receiver(delivery)
    assert answer.body == {"outcome": "published"}
    assert answer.line["webhook_id"] == WEBHOOK_ID


class TestBodiesThatApiGatewayNeverSends:
    """Anyone who can invoke the function can send them."""

    @pytest.mark.parametrize(
        ("body", "encoded", "outcome"),
        [
            pytest.param("canary-7d1f\ud800", False, "SignatureMismatch", id="lone surrogate"),
            pytest.param("canary-7d1f=", True, "Unverified", id="not base64"),
            pytest.param("é", True, "SignatureMismatch", id="no base64 character"),
        ],
    )
    def test_unsigned_body_is_refused(
        self, *, body: str, encoded: bool, outcome: str, receiver: ReceiverInstance
    ) -> None:
        answer = receiver(receiver.delivery() | {"body": body, "isBase64Encoded": encoded})
        assert (answer.status, answer.body) == (401, {"error": outcome})

    def test_signed_lone_surrogate_is_malformed(self, receiver: ReceiverInstance) -> None:
        body = '{"type": "x", "data": "\ud800"}'
        delivery = receiver.delivery(body.encode(errors="surrogatepass"), encoded=True)
        answer = receiver(delivery | {"body": body, "isBase64Encoded": False})
        assert (answer.status, answer.body) == (400, {"error": "Malformed"})
