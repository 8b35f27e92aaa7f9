"""The promises, one by one, each by its name. The sixth, on secrets and privacy, is in test_receiver_privacy.py."""

import hmac
import json
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.receiver.conftest import Answer, Clock, Gateways, Played, Receiver, Stack, Start

EVENT_ID = "evt_685c059ae3a481909bdc86819b066fb6"


class TestPromise1OnlySignedDeliveriesReachTheBus:
    def test_a_change_of_any_byte_is_noticed(self, receiver: "Receiver", stack: "Stack") -> None:
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
        assert stack.arrived() == []
        assert receiver(genuine).status == 200

    def test_nothing_is_done_for_a_delivery_before_it_is_verified(
        self, receiver: "Receiver", monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps: list[str] = []
        verify = receiver.app.verify

        def verify_and_tell(*args: Any, **kwargs: Any) -> None:
            verify(*args, **kwargs)
            steps.append("verified")

        monkeypatch.setattr(receiver.app, "verify", verify_and_tell)
        receiver.before["PutItem"] = lambda: steps.append("claimed")
        receiver.before["PutEvents"] = lambda: steps.append("published")
        receiver.deliver()
        assert steps == ["verified", "claimed", "published"]

    @pytest.mark.parametrize("secret", ["", "whsec_", "whsec_!!!!"])
    def test_an_empty_secret_lets_nobody_in(self, secret: str, receiver: "Receiver", stack: "Stack") -> None:
        receiver.answer("GetSecretValue", SecretString=secret)
        delivery = receiver.delivery()
        headers = delivery["headers"]
        # As openai-python 3.54 would accept it.
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{delivery['body']}"
        signature = b64encode(hmac.digest(b"", signed.encode(), "sha256")).decode()
        answer = receiver.deliver(headers={"webhook-signature": f"v1,{signature}"})
        assert (answer.status, stack.arrived()) == (503, [])

    def test_an_unsigned_one_does_not_get_as_far_as_the_table(self, played: "Played") -> None:
        if played.scenario.outcome in {"Unverified", "NotConfigured", "Malformed", "TooLarge"}:
            assert set(played.operations) <= {"GetSecretValue"}
        else:
            assert "PutEvents" in played.operations


def _changed(text: str) -> Iterator[str]:
    """The text with each of its characters changed in turn."""
    for i, character in enumerate(text):
        yield text[:i] + chr(ord(character) ^ 1) + text[i + 1 :]


_PUBLISHING: "Mapping[str, Callable[[Receiver], object]]" = {
    "works": lambda receiver: None,  # noqa: ARG005
    "is throttled": lambda receiver: receiver.refuse("PutEvents"),
    "times out": lambda receiver: receiver.time_out("PutEvents"),
    "answers, but not here": lambda receiver: receiver.lose_answer("PutEvents"),
    "refuses the entry": lambda receiver: receiver.answer("PutEvents", Entries=[{"ErrorCode": "InternalException"}]),
    "gives no id": lambda receiver: receiver.answer("PutEvents", Entries=[{}]),
}

_TABLE: "Mapping[str, Callable[[Receiver], object]]" = {
    "works": lambda receiver: None,  # noqa: ARG005
    "takes no claim": lambda receiver: receiver.refuse("PutItem"),
    "takes a claim silently": lambda receiver: receiver.lose_answer("PutItem"),
    "takes no record": lambda receiver: receiver.refuse("UpdateItem"),
    "takes no release": lambda receiver: receiver.time_out("DeleteItem"),
}


class TestPromise2A2xxMeansThatTheEventIsOnTheBus:
    def test_whichever_way_a_delivery_goes(self, played: "Played") -> None:
        assert (played.answer.status == 200) == (len(played.arrived) == 1)

    @pytest.mark.parametrize("publishing", _PUBLISHING)
    def test_whatever_fails_together(self, publishing: str, receiver: "Receiver", stack: "Stack") -> None:
        for number, (table, break_table) in enumerate(_TABLE.items()):
            case = f"the table {table}"
            event_id = f"evt_{number}"
            body = json.dumps({"id": event_id, "type": "x"}).encode()
            _PUBLISHING[publishing](receiver)
            break_table(receiver)
            answer = receiver.deliver(body, webhook_id=f"wh_{number}")
            assert (answer.status == 200) == (publishing == "works"), case
            assert (event_id in _ids(stack.arrived())) == (publishing in {"works", "answers, but not here"}), case

            # And what was not accepted is, once all is well again and a claim left behind has run out.
            receiver.recover()
            if answer.status != 200:
                receiver.clock.advance(11)
                assert receiver.deliver(body, webhook_id=f"wh_{number}").body == {"outcome": "published"}, case
                assert event_id in _ids(stack.arrived()), case

    def test_a_copy_of_an_event_that_is_not_on_the_bus_is_no_duplicate(
        self, receiver: "Receiver", stack: "Stack"
    ) -> None:
        receiver.refuse("PutEvents")
        assert [receiver.deliver().status for _ in range(3)] == [503, 503, 503]
        receiver.recover()
        assert receiver.deliver().body == {"outcome": "published"}
        assert len(stack.arrived()) == 1


def _ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["detail"]["id"] for event in events]


_FAULTS = ["throttled", "error 500", "bad gateway", "refused", "reset", "hangs", "answer lost"]

# What a delivery is answered while a service fails.
_MEANWHILE = {"SECRETS_MANAGER": 503, "DYNAMODB": 200, "EVENTBRIDGE": 503}


class TestPromise3AnythingElseIsRedeliveredUntilItIsOnTheBus:
    def test_the_status_is_one_that_openai_redelivers_after(self, played: "Played") -> None:
        # No 3xx, which OpenAI doesn't follow, and no 410, at which the standard's senders disable the endpoint.
        assert played.answer.status in {400, 401, 409, 413, 503} or played.answer.body["outcome"]

    @pytest.mark.parametrize("fault", _FAULTS)
    @pytest.mark.parametrize("service", _MEANWHILE)
    def test_a_fault_loses_nothing(
        self, service: str, fault: str, receiver_behind_gateways: "Receiver", gateways: "Gateways", stack: "Stack"
    ) -> None:
        receiver, gateway = receiver_behind_gateways, gateways[service]
        gateway.fail(fault)
        started = time.monotonic()
        answer = receiver.deliver()
        assert time.monotonic() - started < 5
        assert answer.status == _MEANWHILE[service]

        gateway.recover()
        if answer.status != 200:
            receiver.clock.advance(int(answer.headers["retry-after"]))
            assert receiver.deliver().body == {"outcome": "published"}
        # PutEvents has no idempotency token: what is sent again after a lost answer arrives again.
        copies = 3 if (service, fault) == ("EVENTBRIDGE", "answer lost") else 1
        assert _ids(stack.arrived()) == [EVENT_ID] * copies

    @pytest.mark.parametrize(
        ("service", "fault", "status", "copies"),
        [
            ("SECRETS_MANAGER", "reset", 200, 1),
            ("SECRETS_MANAGER", "answer lost", 200, 1),
            ("DYNAMODB", "reset", 200, 1),
            # The second attempt at the claim runs into the first one.
            ("DYNAMODB", "answer lost", 409, 0),
            ("EVENTBRIDGE", "reset", 200, 1),
            ("EVENTBRIDGE", "hangs", 200, 1),
            ("EVENTBRIDGE", "answer lost", 200, 2),
        ],
    )
    def test_a_fault_of_one_request_is_seldom_noticed(
        self,
        *,
        service: str,
        fault: str,
        status: int,
        copies: int,
        receiver_behind_gateways: "Receiver",
        gateways: "Gateways",
        stack: "Stack",
    ) -> None:
        """As when a connection was kept alive and died while the function was frozen."""
        receiver = receiver_behind_gateways
        gateways[service].fail(f"{fault} once")
        answer = receiver.deliver()
        assert (answer.status, "DeduplicationUnavailable" in answer.metrics) == (status, False)
        assert _ids(stack.arrived()) == [EVENT_ID] * copies
        receiver.clock.advance(10.001)
        assert receiver.deliver().body == {"outcome": "duplicate" if copies else "published"}

    def test_an_outage_of_everything_loses_nothing(
        self, receiver_behind_gateways: "Receiver", gateways: "Gateways", stack: "Stack"
    ) -> None:
        receiver = receiver_behind_gateways
        for gateway in gateways.values():
            gateway.fail("refused")
        answers = []
        for hours in (0, 1, 2, 4, 8, 16, 32):
            receiver.clock.advance(hours * 3600)
            answers.append(receiver.deliver().status)
        assert answers == [503] * 7
        for gateway in gateways.values():
            gateway.recover()
        receiver.clock.advance(5)
        assert receiver.deliver().body == {"outcome": "published"}
        assert _ids(stack.arrived()) == [EVENT_ID]

    def test_an_instance_that_dies_loses_nothing(self, start: "Start", clock: "Clock", stack: "Stack") -> None:
        dying = start()
        dying.crash(dying.before, "PutEvents")
        successor = start()
        assert successor.deliver().status == 409
        clock.advance(10.001)
        assert successor.deliver().body == {"outcome": "published"}
        assert _ids(stack.arrived()) == [EVENT_ID]


class TestPromise4ARedeliveryOrAConcurrentCopyIsPublishedOnce:
    @pytest.mark.parametrize("hours", [0, 1, 71, 72, 96])
    def test_over_the_whole_redelivery_window(self, hours: int, start: "Start", clock: "Clock", stack: "Stack") -> None:
        assert start().deliver().body == {"outcome": "published"}
        clock.advance(hours * 3600)
        assert start().deliver().body == {"outcome": "duplicate"}
        assert _ids(stack.arrived()) == [EVENT_ID]

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
    def test_wherever_a_copy_overtakes(
        self,
        when: tuple[str, str],
        copy: tuple[int, str],
        original: tuple[int, str],
        start: "Start",
        stack: "Stack",
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
        assert _ids(stack.arrived()) == [EVENT_ID]

    def test_but_for_a_crash_between_the_publish_and_its_record(
        self, start: "Start", clock: "Clock", stack: "Stack"
    ) -> None:
        dying = start()
        dying.crash(dying.after, "PutEvents")
        clock.advance(10.001)
        assert start().deliver().body == {"outcome": "published"}
        assert _ids(stack.arrived()) == [EVENT_ID, EVENT_ID]


class TestPromise5AnEventTypeThatOpenaiAddsTomorrowFlowsWithoutARelease:
    @pytest.mark.parametrize(
        "type_",
        [
            pytest.param("dream.completed", id="as OpenAI names them"),
            pytest.param("Rêve / ☃ 😀", id="no identifier"),
            pytest.param("é" * 128, id="of 128 characters"),
        ],
    )
    def test_under_its_own_detail_type(self, type_: str, receiver: "Receiver", stack: "Stack") -> None:
        fields = {"id": "evt_1", "type": type_, "created_at": 1750861210, "dreams": [{"of": "sheep"}]}
        answer = receiver.deliver(json.dumps(fields).encode())
        assert (answer.status, answer.metrics) == (200, {"Published": 1})
        [event] = stack.arrived()
        assert (event["detail-type"], event["detail"]) == (type_, fields)

    def test_a_rule_finds_it_by_a_prefix(self, start: "Start", stack: "Stack") -> None:
        pattern = '{"source": ["openai.com"], "detail-type": [{"prefix": "dream."}]}'
        receiver = start(EVENT_BUS_NAME=stack.add_bus("dreams", pattern))
        for type_ in ("dream.begun", "response.completed", "dream.completed"):
            receiver.deliver(json.dumps({"id": type_, "type": type_}).encode(), webhook_id=type_)
        assert _ids(stack.arrived()) == ["dream.begun", "dream.completed"]

    def test_new_fields_of_a_known_type_come_along(self, receiver: "Receiver", stack: "Stack") -> None:
        fields = {
            "id": "evt_1",
            "type": "response.completed",
            "created_at": 1750861210,
            "data": {"id": "resp_1", "mood": "good"},
            "region": "eu",
        }
        assert receiver.deliver(json.dumps(fields).encode()).metrics == {"Published": 1}
        [event] = stack.arrived()
        assert event["detail"] == fields
