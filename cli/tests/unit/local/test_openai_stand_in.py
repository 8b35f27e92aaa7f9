"""The stand-in for OpenAI's API, as OpenAI's SDK sees it."""

import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from openai_webhooks_cli import samples
from openai_webhooks_cli.local.openai_stand_in import API_KEY, OpenAIStandIn, RefusedError
from tests.support.background import wait_until


@pytest.fixture
def local() -> Iterator[OpenAIStandIn]:
    with OpenAIStandIn() as running:
        yield running


@pytest.fixture
def client(local: OpenAIStandIn) -> Iterator[OpenAI]:
    with OpenAI(base_url=local.base_url, api_key=API_KEY) as connected:
        yield connected


def test_background_response_ends_once(local: OpenAIStandIn, client: OpenAI) -> None:
    created = client.responses.create(model="gpt-5", input="Hello", background=True, metadata={"order": "7"})
    local.end_response(created.id)
    local.end_response(created.id, "failed")

    ended = client.responses.retrieve(created.id)
    assert (created.status, created.output_text) == ("queued", "")
    assert (ended.status, ended.metadata) == ("completed", {"order": "7"})
    assert ended.output_text
    assert ended.usage
    assert client.responses.cancel(created.id).status == "completed"


def test_response_ends_after_seconds_with_event() -> None:
    events: list[tuple[str, str]] = []
    with OpenAIStandIn(seconds=0.01, on_end=lambda *event: events.append(event)) as local:
        created = OpenAI(base_url=local.base_url, api_key=API_KEY).responses.create(input="Hello", background=True)
        wait_until(lambda: events, "the event")

    assert events == [("response.completed", created.id)]


@pytest.mark.parametrize("status", ["failed", "incomplete", "completed"])
def test_metadata_chooses_end_of_response(status: str) -> None:
    events: list[tuple[str, str]] = []
    with OpenAIStandIn(seconds=0.01, on_end=lambda *event: events.append(event)) as local:
        client = OpenAI(base_url=local.base_url, api_key=API_KEY)
        created = client.responses.create(input="Hello", background=True, metadata={"stand_in": status})
        wait_until(lambda: events, "the event")
        assert client.responses.retrieve(created.id).status == status

    assert events == [(f"response.{status}", created.id)]


def test_foreground_response_has_output_and_sends_no_event() -> None:
    events: list[tuple[str, str]] = []
    with OpenAIStandIn(seconds=0, on_end=lambda *event: events.append(event)) as local:
        created = OpenAI(base_url=local.base_url, api_key=API_KEY).responses.create(input="Hello")

    assert created.status == "completed"
    assert created.output_text
    assert events == []


def test_closed_stand_in_sends_no_event() -> None:
    events: list[tuple[str, str]] = []
    with OpenAIStandIn(seconds=0.2, on_end=lambda *event: events.append(event)) as local:
        OpenAI(base_url=local.base_url, api_key=API_KEY).responses.create(input="Hello", background=True)
    time.sleep(0.4)

    assert events == []


def test_cancelled_response_sends_event() -> None:
    events: list[tuple[str, str]] = []
    with OpenAIStandIn(on_end=lambda *event: events.append(event)) as local:
        client = OpenAI(base_url=local.base_url, api_key=API_KEY)
        created = client.responses.create(input="Hello", background=True)
        assert [client.responses.cancel(created.id).status for _ in range(2)] == ["cancelled", "cancelled"]

    assert events == [("response.cancelled", created.id)]


def test_files_are_answered_in_ranges(local: OpenAIStandIn, client: OpenAI) -> None:
    local.add_batch("batch_1", output=b"0123456789", errors=None)
    batch = client.batches.retrieve("batch_1")
    assert batch.output_file_id
    whole = client.files.content(batch.output_file_id)
    part = client.files.content(batch.output_file_id, extra_headers={"Range": "bytes=7-"})

    assert batch.error_file_id is None
    assert (whole.content, part.content) == (b"0123456789", b"789")
    assert part.response.status_code == 206
    assert part.response.headers["content-range"] == "bytes 7-9/10"


def test_call_is_answered_once(local: OpenAIStandIn, client: OpenAI) -> None:
    local.calls["rtc_1"] = "ringing"
    client.realtime.calls.accept("rtc_1", type="realtime", instructions="Be kind.")

    with pytest.raises(openai.NotFoundError):
        client.realtime.calls.reject("rtc_1")
    assert local.calls == {"rtc_1": "accept"}
    assert [(request.action, request.id) for request in local.requests] == [
        ("calls.accept", "rtc_1"),
        ("calls.reject", "rtc_1"),
    ]
    assert local.requests[0].body == {"type": "realtime", "instructions": "Be kind."}


@pytest.mark.parametrize("event_type", ["response.failed", "response.incomplete", "batch.expired", "batch.failed"])
def test_sample_event_adds_its_resource(local: OpenAIStandIn, client: OpenAI, event_type: str) -> None:
    event = samples.sample(event_type, created_at=1)
    local.learn({"detail": event})
    family, _, status = event_type.partition(".")

    resource = client.responses if family == "response" else client.batches
    added: Any = resource.retrieve(event["data"]["id"])
    assert added.status == status
    if family == "batch":
        assert bool(added.output_file_id) == (status != "failed")
    elif status == "incomplete":
        assert added.incomplete_details.reason


def test_later_sample_event_changes_resource(local: OpenAIStandIn, client: OpenAI) -> None:
    for status in ("failed", "expired"):
        local.learn({"detail": samples.sample(f"batch.{status}", created_at=1) | {"data": {"id": "batch_1"}}})
        assert client.batches.retrieve("batch_1").status == status


def test_event_does_not_change_what_a_request_created(local: OpenAIStandIn, client: OpenAI) -> None:
    created = client.responses.create(input="Hello", background=True)

    local.learn({"detail": {"type": "response.failed", "data": {"id": created.id}}})

    assert client.responses.retrieve(created.id).status == "queued"


@pytest.mark.parametrize(
    "function_input",
    [
        "text",
        {"type": "batch.failed", "data": {"id": "batch_1"}},
        {"detail": None},
        {"detail": {"type": 7, "data": {}}},
        {"detail": {"type": "batch.failed", "data": None}},
        {"detail": {"type": "video.failed", "data": {"id": "video_1"}}},
    ],
)
def test_other_input_adds_nothing(local: OpenAIStandIn, function_input: object) -> None:
    local.learn(function_input)

    assert (local.responses, local.batches, local.calls) == ({}, {}, {})


def test_answered_call_does_not_ring_again(local: OpenAIStandIn, client: OpenAI) -> None:
    event = {"detail": {"type": "realtime.call.incoming", "data": {"call_id": "rtc_1"}}}
    local.learn(event)
    client.realtime.calls.reject("rtc_1")

    local.learn(event)

    assert local.calls == {"rtc_1": "reject"}


def test_event_without_end_adds_nothing(local: OpenAIStandIn) -> None:
    local.learn({"detail": {"type": "response.paused", "data": {"id": "resp_1"}}})

    assert local.responses == {}


def test_foreground_response_cannot_be_cancelled(client: OpenAI) -> None:
    created = client.responses.create(input="Hello")

    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(created.id)


def test_unknown_resource_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="The local stand-in has no resp_1"):
        client.responses.retrieve("resp_1")


def test_api_that_is_absent_is_named(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match=r"stand-in lacks POST /v1/embeddings\. It has responses\.create, "):
        client.embeddings.create(model="text-embedding-3-small", input="Hello")


def test_every_answer_is_reported() -> None:
    answers: list[tuple[str, str, int]] = []
    with OpenAIStandIn(on_answer=lambda request, status: answers.append((request.action, request.id, status))) as local:
        client = OpenAI(base_url=local.base_url, api_key=API_KEY)
        created = client.responses.create(input="Hello")
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve("resp_1")
        with pytest.raises(openai.NotFoundError):
            client.models.list()
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="sk-wrong").responses.retrieve("resp_2")

    assert answers == [
        ("responses.create", created.id, 200),
        ("responses.retrieve", "resp_1", 404),
        ("GET /v1/models", "", 404),
        ("responses.retrieve", "resp_2", 401),
    ]


def test_wrong_key_is_refused(local: OpenAIStandIn) -> None:
    # OpenAI quotes the start and the end of the key too.
    with pytest.raises(openai.AuthenticationError, match=r"sk-wrong\*\*\*\*-key") as refusal:
        OpenAI(base_url=local.base_url, api_key="sk-wrong-other-key").batches.retrieve("batch_1")
    assert str(refusal.value.request_id).startswith("req_")
    assert not local.requests


def test_planted_error_has_no_effect(local: OpenAIStandIn, client: OpenAI) -> None:
    def refuse(_: object) -> None:
        raise RefusedError(500, "planted")

    local.on_request = refuse
    with pytest.raises(openai.InternalServerError):
        client.responses.create(input="Hello", background=True)
    assert local.responses == {}
