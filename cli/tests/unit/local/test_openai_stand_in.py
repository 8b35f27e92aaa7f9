"""The stand-in for OpenAI's API, as OpenAI's SDK sees it."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import openai
import pytest
from openai import OpenAI

from openai_webhooks_cli import samples
from openai_webhooks_cli.local.openai_stand_in import API_KEY, OpenAIStandIn, RefusedError
from tests.support.background import wait_until

Event = tuple[str, str]


@pytest.fixture
def events() -> list[Event]:
    """The types of the events that OpenAI would send, with the ids of their responses."""
    return []


@pytest.fixture
def answers() -> list[tuple[str, str, int]]:
    return []


@pytest.fixture
def stand_in(events: list[Event], answers: list[tuple[str, str, int]]) -> Iterator[OpenAIStandIn]:
    with OpenAIStandIn(
        on_end=lambda *event: events.append(event),
        on_answer=lambda request, status: answers.append((request.action, request.id, status)),
    ) as running:
        yield running


def client_of(stand_in: OpenAIStandIn, key: str = API_KEY) -> OpenAI:
    return OpenAI(base_url=stand_in.base_url, api_key=key)


@pytest.fixture
def client(stand_in: OpenAIStandIn) -> Iterator[OpenAI]:
    with client_of(stand_in) as connected:
        yield connected


def test_background_response_ends_once(stand_in: OpenAIStandIn, client: OpenAI, events: list[Event]) -> None:
    created = client.responses.create(model="gpt-6.1-sol", input="Hello", background=True, metadata={"order": "7"})
    stand_in.end_response(created.id)
    stand_in.end_response(created.id, "failed")

    ended = client.responses.retrieve(created.id)
    assert (created.status, created.output_text) == ("queued", "")
    assert (ended.status, ended.metadata) == ("completed", {"order": "7"})
    assert ended.output_text
    assert ended.usage
    assert client.responses.cancel(created.id).status == "completed"
    assert events == [("response.completed", created.id)]


def test_response_ends_after_seconds_as_metadata_says(events: list[Event]) -> None:
    with OpenAIStandIn(seconds=0.01, on_end=lambda *event: events.append(event)) as stand_in:
        responses = client_of(stand_in).responses
        plain = responses.create(model="gpt-6.1-sol", input="Hello", background=True)
        failing = responses.create(model="gpt-6.1-sol", input="Hello", background=True, metadata={"stand_in": "failed"})
        wait_until(lambda: len(events) == 2, "the events")

    assert set(events) == {("response.completed", plain.id), ("response.failed", failing.id)}
    assert [stand_in.responses[created.id]["status"] for created in (plain, failing)] == ["completed", "failed"]


def test_foreground_response_is_complete_and_final(client: OpenAI, events: list[Event]) -> None:
    created = client.responses.create(model="gpt-6.1-sol", input="Hello")

    assert (created.status, bool(created.output_text)) == ("completed", True)
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(created.id)
    assert events == []


def test_cancelled_response_sends_one_event(client: OpenAI, events: list[Event]) -> None:
    created = client.responses.create(model="gpt-6.1-sol", input="Hello", background=True)

    assert [client.responses.cancel(created.id).status for _ in range(2)] == ["cancelled", "cancelled"]
    assert events == [("response.cancelled", created.id)]


def test_close_cancels_ends_of_responses(events: list[Event]) -> None:
    with OpenAIStandIn(seconds=3600, on_end=lambda *event: events.append(event)) as stand_in:
        client_of(stand_in).responses.create(model="gpt-6.1-sol", input="Hello", background=True)
        [timer] = stand_in._timers

    timer.join(10)
    assert not timer.is_alive()
    assert events == []


def test_files_are_answered_in_ranges(stand_in: OpenAIStandIn, client: OpenAI) -> None:
    stand_in.add_batch("batch_1", output=b"0123456789", errors=None)
    batch = client.batches.retrieve("batch_1")
    assert batch.output_file_id
    whole = client.files.content(batch.output_file_id)
    part = client.files.content(batch.output_file_id, extra_headers={"Range": "bytes=7-"})

    assert batch.error_file_id is None
    assert (whole.content, part.content) == (b"0123456789", b"789")
    assert (part.response.status_code, part.response.headers["content-range"]) == (206, "bytes 7-9/10")


def test_call_is_answered_once(stand_in: OpenAIStandIn, client: OpenAI) -> None:
    ringing = {"detail": {"type": "realtime.call.incoming", "data": {"call_id": "rtc_1"}}}
    stand_in.learn(ringing)
    client.realtime.calls.accept("rtc_1", type="realtime", instructions="Be kind.")
    stand_in.learn(ringing)

    with pytest.raises(openai.NotFoundError):
        client.realtime.calls.reject("rtc_1")
    assert stand_in.calls == {"rtc_1": "accept"}
    accepted, rejected = stand_in.requests
    assert (accepted.action, accepted.id, rejected.action) == ("calls.accept", "rtc_1", "calls.reject")
    assert accepted.body == {"type": "realtime", "instructions": "Be kind."}


def test_sample_events_change_the_resource_that_they_name(stand_in: OpenAIStandIn, client: OpenAI) -> None:
    def learned(event_type: str) -> Any:
        event = samples.sample(event_type, created_at=1)
        stand_in.learn({"detail": event})
        resource: Any = client.responses if event_type.startswith("response.") else client.batches
        return resource.retrieve(event["data"]["id"])

    assert learned("response.failed").status == "failed"
    assert learned("response.incomplete").incomplete_details.reason
    expired, failed = learned("batch.expired"), learned("batch.failed")
    assert (expired.status, bool(expired.output_file_id)) == ("expired", True)
    assert (failed.status, failed.output_file_id) == ("failed", None)


def test_event_keeps_what_a_request_created(stand_in: OpenAIStandIn, client: OpenAI) -> None:
    created = client.responses.create(model="gpt-6.1-sol", input="Hello", background=True)

    stand_in.learn({"detail": {"type": "response.failed", "data": {"id": created.id}}})

    assert client.responses.retrieve(created.id).status == "queued"


def test_other_input_adds_nothing(stand_in: OpenAIStandIn) -> None:
    others: list[object] = ["text", {"type": "batch.failed", "data": {"id": "batch_1"}}]
    others += [
        {"detail": detail}
        for detail in (
            None,
            {"type": 7, "data": {}},
            {"type": "batch.failed", "data": None},
            {"type": "video.failed", "data": {"id": "video_1"}},
            {"type": "response.paused", "data": {"id": "resp_1"}},
        )
    ]
    for function_input in others:
        stand_in.learn(function_input)

    assert (stand_in.responses, stand_in.batches, stand_in.calls) == ({}, {}, {})


# What is asked, the answer as it is reported, and the reason in it.
REFUSED: Final[dict[str, tuple[Callable[[OpenAI], object], tuple[str, str, int], str]]] = {
    "unknown resource": (
        lambda client: client.responses.retrieve("resp_1"),
        ("responses.retrieve", "resp_1", 404),
        "resp_1",
    ),
    "API that is absent": (
        lambda client: client.models.list(),
        ("GET /v1/models", "", 404),
        r"lacks GET /v1/models.*responses\.create",
    ),
    "wrong key": (
        # OpenAI quotes the start and the end of the key too.
        lambda client: client.with_options(api_key="sk-wrong-other-key").responses.retrieve("resp_2"),
        ("responses.retrieve", "resp_2", 401),
        r"sk-wrong\*\*\*\*-key",
    ),
}


@pytest.mark.parametrize(("request_by", "answer", "reason"), REFUSED.values(), ids=REFUSED)
def test_refusal_has_reason_and_is_reported(
    client: OpenAI,
    answers: list[Any],
    request_by: Callable[[OpenAI], object],
    answer: tuple[str, str, int],
    reason: str,
) -> None:
    created = client.responses.create(model="gpt-6.1-sol", input="Hello")
    with pytest.raises(openai.APIStatusError, match=reason) as refusal:
        request_by(client)

    assert str(refusal.value.request_id).startswith("req_")
    assert answers == [("responses.create", created.id, 200), answer]


def test_response_needs_model_and_input(client: OpenAI) -> None:
    bodies: dict[str, dict[str, Any]] = {"model": {"input": "Hello"}, "input": {"model": "gpt-6.1-sol"}}
    for missing, body in bodies.items():
        with pytest.raises(openai.BadRequestError, match=missing) as refusal:
            client.responses.create(**body)
        assert (refusal.value.param, refusal.value.code) == (missing, "missing_required_parameter")

    assert client.responses.create(prompt={"id": "pmpt_1"}).status == "completed"
    assert client.responses.create(model="gpt-6.1-sol", previous_response_id="resp_1").status == "completed"


def test_request_with_wrong_key_is_not_recorded(stand_in: OpenAIStandIn) -> None:
    with pytest.raises(openai.AuthenticationError):
        client_of(stand_in, API_KEY[:-1]).batches.retrieve("batch_1")

    assert not stand_in.requests


def test_planted_error_has_no_effect(stand_in: OpenAIStandIn, client: OpenAI) -> None:
    def refuse(_: object) -> None:
        raise RefusedError(400, "planted")

    stand_in.on_request = refuse
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="gpt-6.1-sol", input="Hello", background=True)
    assert stand_in.responses == {}
