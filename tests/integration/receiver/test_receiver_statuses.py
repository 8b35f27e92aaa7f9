"""What OpenAI hears, what is counted and logged, and what reaches the bus: for each way a delivery can go."""

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.integration.receiver.conftest import Played, Receiver, Stack, Start

WEBHOOK_ID = "wh_685c059ae39c8190af8c71ed1022a24d"


def test_each_way_a_delivery_can_go(played: "Played") -> None:
    scenario, answer = played.scenario, played.answer
    success = scenario.status == 200

    assert answer.status == scenario.status
    assert answer.body == ({"outcome": scenario.outcome.lower()} if success else {"error": scenario.outcome})
    assert answer.headers == {"content-type": "application/json"} | (
        {"retry-after": scenario.retry_after} if scenario.retry_after else {}
    )

    assert answer.metrics == {scenario.outcome: 1} | ({scenario.warned: 1} if scenario.warned else {})

    *others, line = answer.logs
    assert (line["level"], line["message"]) == ("INFO" if success else "WARNING", scenario.outcome)
    if scenario.reason:
        assert re.search(scenario.reason, line["reason"])
    else:
        assert "reason" not in line
    if scenario.warned:
        assert re.search(scenario.warning, others[-1]["message"])
    assert played.stderr == ""

    assert len(played.arrived) == scenario.on_bus


def test_the_function_calls_nothing_that_its_role_does_not_allow(played: "Played") -> None:
    template = (Path(__file__).parents[3] / "template.yaml").read_text()
    for operation in played.operations:
        assert re.search(rf"(secretsmanager|dynamodb|events):{operation}\b", template), operation


def test_the_metrics_are_the_stacks(receiver: "Receiver") -> None:
    [emf] = receiver.deliver().emf
    [metrics] = emf["_aws"]["CloudWatchMetrics"]
    assert metrics == {
        "Namespace": "openai-webhooks",
        "Dimensions": [["service"]],
        "Metrics": [{"Name": "Published", "Unit": "Count"}],
    }
    assert (emf["service"], emf["Published"]) == ("receiver", [1])


class TestLog:
    def test_a_published_event_can_be_followed_to_the_bus(self, receiver: "Receiver", stack: "Stack") -> None:
        line = receiver.deliver().log
        [event] = stack.arrived()
        assert line["webhook_id"] == WEBHOOK_ID
        assert line["event_type"] == "response.completed"
        assert line["eventbridge_id"] == event["id"]
        assert line["function_request_id"] == "00000000-0000-0000-0000-000000000000"
        assert line["service"] == "receiver"

    def test_a_delivery_says_nothing_of_the_one_before_it(self, receiver: "Receiver") -> None:
        receiver.deliver()
        line = receiver({}).log
        assert line["webhook_id"] == ""
        assert {"event_type", "eventbridge_id"}.isdisjoint(line)

    def test_a_refused_delivery_is_named(self, receiver: "Receiver") -> None:
        assert receiver.deliver(sent_at=0).log["webhook_id"] == WEBHOOK_ID

    def test_an_id_is_cut(self, receiver: "Receiver") -> None:
        assert receiver.deliver(webhook_id="w" * 129).log["webhook_id"] == "w" * 128

    def test_drift_names_the_fields_and_not_the_values(self, receiver: "Receiver") -> None:
        line, _ = receiver.deliver(b'{"type": "batch.failed", "id": "evt_1", "created_at": "1", "data": {}}').logs
        assert line["level"] == "WARNING"
        assert line["drift"] == "created_at: int_type; data.id: missing"

    def test_drift_does_not_outgrow_the_log(self, receiver: "Receiver") -> None:
        # CloudWatch Logs takes 256 KB a line everywhere.
        headers = b",".join([b"{}"] * 10_000)
        line, _ = receiver.deliver(
            b'{"type": "realtime.call.incoming", "id": "evt_1", "created_at": 1, '
            b'"data": {"call_id": "c", "sip_headers": [%b]}}' % headers
        ).logs
        assert line["drift"].startswith("data.sip_headers.0.name: missing; data.sip_headers.0.value: missing")
        assert len(line["drift"]) < 100_000

    def test_a_table_that_fails_is_named_with_its_code(self, receiver: "Receiver") -> None:
        receiver.refuse("PutItem", "ProvisionedThroughputExceededException")
        line, _ = receiver.deliver().logs
        assert line["level"] == "ERROR"
        assert line["message"].startswith("The deliveries table failed")
        assert line["reason"] == "ProvisionedThroughputExceededException"

    def test_keys_that_stay_in_use_for_want_of_newer_ones_are_told_of(self, receiver: "Receiver") -> None:
        receiver.deliver()
        receiver.clock.advance(300)
        receiver.refuse("GetSecretValue", "InternalServiceError")
        line, _ = receiver.deliver(webhook_id="wh_2").logs
        assert line["level"] == "ERROR"
        assert line["message"] == "The signing secret could not be read: the known keys stay in use"
        assert line["reason"].startswith("InternalServiceError from Secrets Manager. Check that the function")


class TestEntry:
    def test_it_is_the_delivery_under_openais_own_type(self, receiver: "Receiver", stack: "Stack") -> None:
        receiver.deliver()
        [event] = stack.arrived()
        assert event["source"] == "openai.com"
        assert event["detail-type"] == "response.completed"
        assert event["time"] == "2025-06-25T14:20:10Z"
        assert event["detail"] == {
            "id": "evt_685c059ae3a481909bdc86819b066fb6",
            "object": "event",
            "created_at": 1750861210,
            "type": "response.completed",
            "data": {"id": "resp_123"},
        }

    def test_its_source_is_a_parameter(self, start: "Start", stack: "Stack") -> None:
        start(EVENT_SOURCE="com.example.openai").deliver()
        assert [event["source"] for event in stack.arrived()] == ["com.example.openai"]

    @pytest.mark.parametrize("encoded", [pytest.param(False, id="text"), pytest.param(True, id="base64")])
    def test_its_detail_is_the_body_verbatim(self, *, encoded: bool, receiver: "Receiver", stack: "Stack") -> None:
        body = '\n{ "type":"x.y" ,\t"b": 1.0, "a": [1e2, "caf\\u00e9 é ☃ 😀"], "id": "evt_1" }\r\n'
        receiver.deliver(body.encode(), encoded=encoded)
        assert receiver.entry["Detail"] == body
        [event] = stack.arrived()
        assert event["detail"] == {"type": "x.y", "b": 1.0, "a": [100.0, "café é ☃ 😀"], "id": "evt_1"}

    @pytest.mark.parametrize(
        "created_at",
        [
            pytest.param(b"", id="absent"),
            pytest.param(b', "created_at": "1750861210"', id="a string"),
            pytest.param(b', "created_at": 253402300800', id="after the year 9999"),
        ],
    )
    def test_an_event_without_a_usable_time_is_published_under_the_time_of_its_arrival(
        self, created_at: bytes, receiver: "Receiver", stack: "Stack"
    ) -> None:
        assert receiver.deliver(b'{"type": "batch.expired"%b}' % created_at).status == 200
        assert "Time" not in receiver.entry
        assert len(stack.arrived()) == 1


class TestTime:
    @pytest.mark.parametrize("tolerance", [60, 300, 600])
    def test_the_tolerance_is_a_parameter(self, tolerance: int, start: "Start") -> None:
        receiver = start(TIMESTAMP_TOLERANCE_SECONDS=str(tolerance))
        now = int(receiver.clock.now)
        offsets = (-tolerance - 1, -tolerance, tolerance, tolerance + 1)
        statuses = [receiver.deliver(sent_at=now + offset).status for offset in offsets]
        assert statuses == [401, 200, 200, 401]

    def test_part_of_a_second_does_not_count(self, receiver: "Receiver") -> None:
        sent_at = int(receiver.clock.now)
        receiver.clock.advance(300.9)
        assert receiver.deliver(sent_at=sent_at).status == 200

    def test_it_is_the_real_one(self, receiver: "Receiver", monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(receiver.app, "time", time)
        assert receiver.deliver(sent_at=int(time.time())).status == 200
        assert receiver.deliver(sent_at=int(receiver.clock.now)).status == 401


def test_the_case_of_a_headers_name_does_not_matter(receiver: "Receiver") -> None:
    """API Gateway's names are in lower case; others leave them as they came."""
    delivery = receiver.delivery()
    delivery["headers"] = {name.title(): value for name, value in delivery["headers"].items()}
    answer = receiver(delivery)
    assert answer.body == {"outcome": "published"}
    assert answer.log["webhook_id"] == WEBHOOK_ID


def test_openai_pythons_published_delivery_is_accepted(receiver: "Receiver", stack: "Stack") -> None:
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
    assert len(stack.arrived()) == 1


class TestBodiesThatApiGatewayDoesNotSend:
    """But whoever may invoke the function can."""

    @pytest.mark.parametrize(
        ("body", "encoded", "reason"),
        [
            pytest.param("canary-7d1f\ud800", False, "no active signing secret matches", id="a lone surrogate"),
            pytest.param("canary-7d1f=", True, "the body is not base64", id="not base64"),
            pytest.param("é", True, "no active signing secret matches", id="nothing of it base64"),
        ],
    )
    def test_an_unsigned_one_is_unverified(
        self, *, body: str, encoded: bool, reason: str, receiver: "Receiver"
    ) -> None:
        answer = receiver(receiver.delivery() | {"body": body, "isBase64Encoded": encoded})
        assert (answer.status, answer.body) == (401, {"error": "Unverified"})
        assert answer.log["reason"].startswith(reason)

    def test_a_signed_lone_surrogate_is_malformed(self, receiver: "Receiver") -> None:
        body = '{"type": "x", "data": "\ud800"}'
        delivery = receiver.delivery(body.encode(errors="surrogatepass"), encoded=True)
        answer = receiver(delivery | {"body": body, "isBase64Encoded": False})
        assert (answer.status, answer.body) == (400, {"error": "Malformed"})
