"""OpenAI's API for webhook endpoints, through the real SDK, against the stand-in."""

import logging
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from cli.tests.support.openai_stand_in import HANG_UP, EndpointsStandIn
from openai_webhooks_cli.openai_platform.endpoints import Endpoint, OpenAIApi, connect, of_url
from openai_webhooks_cli.shell.errors import CannotRun

API_KEY = "sk-canary-7d1f"
URL = "https://abc123.execute-api.us-east-1.amazonaws.com/webhooks/openai"


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[EndpointsStandIn]:
    with EndpointsStandIn(route=lambda _: "http://127.0.0.1:9/", api_key=API_KEY) as stand_in:
        for name, value in stand_in.environment.items():
            monkeypatch.setenv(name, value)
        yield stand_in


@pytest.fixture
def api(stand_in: EndpointsStandIn) -> OpenAIApi:
    return connect()


def test_answers_of_stand_in_have_all_fields_of_sdk_types(stand_in: EndpointsStandIn) -> None:
    client = openai.OpenAI(_strict_response_validation=True)
    created = client.webhooks.create(url=URL, name="n", event_types=["batch.completed"])
    webhooks = client.webhooks

    answers: list[Any] = [
        created,
        *webhooks.list(),
        webhooks.update(created.id, name="m"),
        webhooks.rotate_secret(created.id),
        webhooks.test(created.id, event_type="batch.completed"),
        webhooks.event_types.list(),
        webhooks.delete(created.id),
    ]

    for answer in answers:
        assert answer.model_fields_set == type(answer).model_fields.keys()


def test_all_pages_are_listed(api: OpenAIApi, stand_in: EndpointsStandIn) -> None:
    ids = [stand_in.register(f"{URL}/{n}") for n in range(45)]

    assert [endpoint.id for endpoint in api.endpoints()] == ids[::-1]
    assert stand_in.actions.count("list") == 3


def test_life_of_an_endpoint(api: OpenAIApi, stand_in: EndpointsStandIn, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stand_in.event_types = ["batch.completed", "new.type"]
    assert api.event_types() == ["batch.completed", "new.type"]
    created, first = api.create(URL, "n", ["new.type"])
    assert created.event_types == ("new.type",)
    assert stand_in.secrets[created.id] == [first]

    url = f"{URL}/m"
    assert api.update(created.id, url=url) == created._replace(url=url)
    assert api.update(created.id, event_types=["batch.completed"]).event_types == ("batch.completed",)
    _, second = api.rotate(created.id, keep_old=True)
    assert stand_in.secrets[created.id] == [second, first]
    _, third = api.rotate(created.id, keep_old=False)
    assert stand_in.secrets[created.id] == [third]
    assert api.test(created.id, "batch.completed") == 502  # nobody listens there
    api.delete(created.id)
    assert api.endpoints() == []
    # The SDK would log headers and answers.
    assert [record for record in caplog.records if record.name.startswith(("openai", "http"))] == []


@pytest.mark.parametrize("action", ["create", "rotate", "list"])
def test_error_says_nothing_secret(api: OpenAIApi, stand_in: EndpointsStandIn, action: str) -> None:
    endpoint_id = stand_in.register(URL)
    secret = stand_in.secrets[endpoint_id][0]
    calls = {
        "create": lambda: api.create(URL, "n", ["batch.failed"]),
        "rotate": lambda: api.rotate(endpoint_id, keep_old=True),
        "list": api.endpoints,
    }
    for status in (400, 401, 403, 404, 409, 422, 429, 500, 503, HANG_UP):
        stand_in.requests.clear()
        stand_in.fail(action, status, f"planted {API_KEY} {secret} {API_KEY[:8]}", times=3)

        with pytest.raises(CannotRun) as raised:
            calls[action]()

        said = f"{raised.value!r} {raised.value.__context__!r} {raised.value.__cause__!r}"
        assert "canary" not in said
        assert secret[10:] not in said
        assert (str(status) if status else "APIConnectionError") in said
        if action != "list":
            assert stand_in.actions == [action]  # A second secret would replace the first, which nobody has.
            assert ("openai-webhooks endpoint" in said) == (status not in range(400, 500) or status == 404)


def test_answer_of_another_server_is_reported(
    api: OpenAIApi, stand_in: EndpointsStandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in ("<html>", "[]", "{}", '{"data": 1}', ""):
        stand_in.bodies["create"] = answer
        with pytest.raises(CannotRun, match="OPENAI_BASE_URL"):
            api.create(URL, "n", ["batch.failed"])

    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    with pytest.raises(CannotRun, match="OPENAI_BASE_URL"):
        connect().delete("we_1")


def test_missing_or_wrong_key_is_reported(stand_in: EndpointsStandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", " ")
    with pytest.raises(CannotRun, match="OPENAI_API_KEY"):
        connect()

    monkeypatch.setenv("OPENAI_API_KEY", "sk-another")
    with pytest.raises(CannotRun, match="401") as raised:
        connect().event_types()
    assert "sk-" not in str(raised.value)


def test_endpoint_is_found_by_its_url() -> None:
    for url in (URL, f"{URL}/", URL.replace("abc123", "ABC123")):
        endpoint = Endpoint("we_1", "n", url, (), None, None)
        assert of_url([endpoint], URL) == [endpoint]

    for old, new in (("/openai", "/OpenAI"), ("abc123", "abc124"), ("https", "http"), ("/openai", "")):
        assert of_url([Endpoint("we_1", "n", URL.replace(old, new), (), None, None)], URL) == []
