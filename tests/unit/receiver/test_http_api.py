"""The answer, the metrics, the log and the bus, for each way a delivery can go."""

import re
from typing import Any

import pytest

from tests.support.in_memory_aws import InMemoryAws
from tests.support.paths import ROOT
from tests.support.receiver_instance import NAMESPACE, NOW, WEBHOOK_ID, ReceiverInstance, Start
from tests.support.scenarios import Played


class TestEveryScenario:
    def test_answer(self, played: Played) -> None:
        scenario, answer = played.scenario, played.answer
        success = scenario.status == 200
        assert answer.status == scenario.status
        assert answer.body == ({"outcome": scenario.outcome.lower()} if success else {"error": scenario.outcome})
        retry_after = {"retry-after": scenario.retry_after} if scenario.retry_after else {}
        assert answer.headers == {"content-type": "application/json"} | retry_after

    def test_metrics(self, played: Played) -> None:
        scenario = played.scenario
        assert played.answer.metrics == {scenario.outcome: 1} | ({scenario.warned: 1} if scenario.warned else {})

    def test_log(self, played: Played) -> None:
        scenario = played.scenario
        *others, line = played.answer.logs
        assert (line["level"], line["message"]) == ("INFO" if scenario.status == 200 else "WARNING", scenario.outcome)
        if scenario.reason:
            assert re.search(scenario.reason, line["reason"])
        else:
            assert "reason" not in line
        if scenario.warned:
            assert re.search(scenario.warning, others[-1]["message"])
        assert played.stderr == ""

    def test_bus(self, played: Played) -> None:
        assert len(played.arrived) == played.scenario.on_bus

    def test_role_allows_every_call(self, played: Played) -> None:
        template = (ROOT / "template.yaml").read_text()
        for operation in played.operations:
            assert re.search(rf"(secretsmanager|dynamodb|events):{operation}\b", template), operation


class TestMetrics:
    def test_namespace_and_dimension(self, receiver: ReceiverInstance) -> None:
        [emf] = receiver.deliver().emf
        [metrics] = emf["_aws"]["CloudWatchMetrics"]
        assert metrics == {
            "Namespace": NAMESPACE,
            "Dimensions": [["service"]],
            "Metrics": [{"Name": "Published", "Unit": "Count"}],
        }
        assert (emf["service"], emf["Published"]) == ("receiver", [1])


class TestLog:
    def test_published_event_can_be_followed_to_the_bus(self, receiver: ReceiverInstance, aws: InMemoryAws) -> None:
        line = receiver.deliver().log
        [event] = aws.arrived()
        assert line["webhook_id"] == WEBHOOK_ID
        assert line["event_type"] == "response.completed"
        assert line["eventbridge_id"] == event["id"]
        assert line["function_request_id"] == "00000000-0000-0000-0000-000000000000"
        assert line["service"] == "receiver"

    def test_duplicate_names_the_published_event(self, receiver: ReceiverInstance) -> None:
        published = receiver.deliver().log
        assert receiver.deliver().log["eventbridge_id"] == published["eventbridge_id"]

    def test_fields_of_last_delivery_are_cleared(self, receiver: ReceiverInstance) -> None:
        receiver.deliver()
        line = receiver({}).log
        assert line["webhook_id"] == ""
        assert {"event_type", "eventbridge_id"}.isdisjoint(line)

    def test_rejected_delivery_is_named(self, receiver: ReceiverInstance) -> None:
        assert receiver.deliver(sent_at=0).log["webhook_id"] == WEBHOOK_ID

    def test_webhook_id_is_cut_to_128_characters(self, receiver: ReceiverInstance) -> None:
        assert receiver.deliver(webhook_id="w" * 129).log["webhook_id"] == "w" * 128

    def test_drift_names_fields_and_no_values(self, receiver: ReceiverInstance) -> None:
        line, _ = receiver.deliver(b'{"type": "batch.failed", "id": "evt_1", "created_at": "1", "data": {}}').logs
        assert line["level"] == "WARNING"
        assert line["drift"] == "created_at: int_type; data.id: missing"

    def test_drift_fits_in_a_log_line(self, receiver: ReceiverInstance) -> None:
        # CloudWatch Logs accepts 256 KB a line in every region.
        headers = b",".join([b"{}"] * 10_000)
        line, _ = receiver.deliver(
            b'{"type": "realtime.call.incoming", "id": "evt_1", "created_at": 1, '
            b'"data": {"call_id": "c", "sip_headers": [%b]}}' % headers
        ).logs
        assert line["drift"].startswith("data.sip_headers.0.name: missing; data.sip_headers.0.value: missing")
        assert len(line["drift"]) < 100_000

    def test_failing_table_is_logged_with_its_code(self, receiver: ReceiverInstance) -> None:
        receiver.refuse("PutItem", "ProvisionedThroughputExceededException")
        line, _ = receiver.deliver().logs
        assert (line["level"], line["reason"]) == ("ERROR", "ProvisionedThroughputExceededException")

    def test_failing_refresh_of_keys_is_logged(self, receiver: ReceiverInstance) -> None:
        receiver.deliver()
        receiver.clock.advance(300)
        receiver.refuse("GetSecretValue", "InternalServiceError")
        line, _ = receiver.deliver(webhook_id="wh_2").logs
        assert line["level"] == "ERROR"
        assert line["reason"].startswith("InternalServiceError from Secrets Manager")


class TestTimestamp:
    @pytest.mark.parametrize("tolerance", [60, 300, 600])
    def test_tolerance_is_a_setting(self, tolerance: int, start: Start) -> None:
        receiver = start(TIMESTAMP_TOLERANCE_SECONDS=str(tolerance))
        offsets = (-tolerance - 1, -tolerance, tolerance, tolerance + 1)
        statuses = [receiver.deliver(sent_at=NOW + offset).status for offset in offsets]
        assert statuses == [401, 200, 200, 401]

    def test_part_of_a_second_is_ignored(self, receiver: ReceiverInstance) -> None:
        receiver.clock.advance(300.9)
        assert receiver.deliver(sent_at=NOW).status == 200


def test_header_names_are_not_case_sensitive(receiver: ReceiverInstance) -> None:
    delivery = receiver.delivery()
    delivery["headers"] = {name.title(): value for name, value in delivery["headers"].items()}
    answer = receiver(delivery)
    assert answer.body == {"outcome": "published"}
    assert answer.log["webhook_id"] == WEBHOOK_ID


def test_published_delivery_of_openai_python_is_accepted(receiver: ReceiverInstance, aws: InMemoryAws) -> None:
    delivery: dict[str, Any] = {
        "headers": {
            "webhook-id": "wh_685c059ae39c8190af8c71ed1022a24d",
            "webhook-timestamp": "1750861210",
            "webhook-signature": "v1,gUAg4R2hWouRZqRQG4uJypNS8YK885G838+EHb4nKBY=",
        },
        "body": (
            '{"id": "evt_685c059ae3a481909bdc86819b066fb6", "object": "event", "created_at": 1750861210, '
            '"type": "response.completed", "data": {"id": "resp_123"}}'
        ),
    }
    assert receiver(delivery).body == {"outcome": "published"}
    assert len(aws.arrived()) == 1


class TestBodiesThatApiGatewayNeverSends:
    """Anyone who can invoke the function can send them."""

    @pytest.mark.parametrize(
        ("body", "encoded", "reason"),
        [
            pytest.param("canary-7d1f\ud800", False, "no active signing secret matches", id="lone surrogate"),
            pytest.param("canary-7d1f=", True, "the body is not base64", id="not base64"),
            pytest.param("é", True, "no active signing secret matches", id="no base64 character"),
        ],
    )
    def test_unsigned_body_is_unverified(
        self, *, body: str, encoded: bool, reason: str, receiver: ReceiverInstance
    ) -> None:
        answer = receiver(receiver.delivery() | {"body": body, "isBase64Encoded": encoded})
        assert (answer.status, answer.body) == (401, {"error": "Unverified"})
        assert answer.log["reason"].startswith(reason)

    def test_signed_lone_surrogate_is_malformed(self, receiver: ReceiverInstance) -> None:
        body = '{"type": "x", "data": "\ud800"}'
        delivery = receiver.delivery(body.encode(errors="surrogatepass"), encoded=True)
        answer = receiver(delivery | {"body": body, "isBase64Encoded": False})
        assert (answer.status, answer.body) == (400, {"error": "Malformed"})
