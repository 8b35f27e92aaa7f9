"""The HTTP API's own answers, and what it reports about them."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests
from werkzeug import Response

from openai_webhooks_cli.local.function_pool import FunctionFailed, FunctionPool, Invocation
from openai_webhooks_cli.local.http_api import AnsweredDelivery, HttpApi
from tests.support.background import wait_until

ROUTE = ("POST", "/webhooks/openai")


class Receiver:
    """Answers what a test wants."""

    def __init__(self) -> None:
        self.answer = {"statusCode": 200, "headers": {}, "body": '{"outcome": "published"}'}
        self.line: dict[str, Any] = {"_aws": {}, "eventbridge_id": "eb-1"}
        self.failure: FunctionFailed | None = None
        self.go = threading.Event()
        self.go.set()

    def invoke(self, _event: Any) -> Invocation:
        self.go.wait()
        if self.failure:
            raise self.failure
        return Invocation(self.answer, ["something else", json.dumps(self.line, separators=(",", ":"))])


@pytest.fixture
def answered() -> list[AnsweredDelivery]:
    return []


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
def api(answered: list[AnsweredDelivery], receiver: Receiver) -> Iterator[HttpApi]:
    pool = cast(FunctionPool, SimpleNamespace(invoke=receiver.invoke))
    listener = socket.create_server(("127.0.0.1", 0))
    with closing(HttpApi(listener, ROUTE, pool, on_answer=answered.append)) as api:
        yield api


def post(api: HttpApi, **fields: Any) -> requests.Response:
    return requests.post(api.url, json={"type": "batch.failed", "id": "evt_1", **fields}, timeout=10)


def test_failure_of_function_becomes_500(api: HttpApi, answered: list[AnsweredDelivery], receiver: Receiver) -> None:
    receiver.failure = FunctionFailed("KeyError: 'x' (app.py:7)")

    response = post(api)

    assert (response.status_code, response.json()) == (500, {"message": "Internal Server Error"})
    [delivery] = answered
    assert (delivery.event_type, delivery.event_id, delivery.status) == ("batch.failed", "evt_1", 500)
    assert "KeyError: 'x' (app.py:7)" in delivery.reason


def test_reason_of_rejection_is_reported(api: HttpApi, answered: list[AnsweredDelivery], receiver: Receiver) -> None:
    receiver.answer = {"statusCode": 401, "headers": {}, "body": '{"error": "Unverified"}'}
    receiver.line = {"_aws": {}, "reason": "webhook-id is missing"}

    assert post(api).status_code == 401
    assert [(d.outcome, d.reason, d.eventbridge_id) for d in answered] == [("Unverified", "webhook-id is missing", "")]


def test_other_request_goes_to_fallback_and_is_reported_as_404(api: HttpApi, answered: list[AnsweredDelivery]) -> None:
    api.fallback = lambda request: Response("a page") if request.path == "/" else None
    assert requests.get(api.url.removesuffix(ROUTE[1]) + "/", timeout=10).text == "a page"
    assert answered == []

    for method, path in (("GET", ""), ("POST", "/other")):
        assert requests.request(method, f"{api.url}{path}", timeout=10).status_code == 404
        request = answered.pop()
        assert request.status == 404
        assert f"{method} {ROUTE[1]}{path}" in request.reason
        assert " ".join(ROUTE) in request.reason


def test_body_that_is_not_an_event_is_delivered(api: HttpApi, answered: list[AnsweredDelivery]) -> None:
    for body in (b"\xff", b"[]", b"1", b"[" * 100_000):
        assert requests.post(api.url, data=body, timeout=10).status_code == 200

    assert [delivery.event_type for delivery in answered] == ["?"] * 4


def test_delivery_in_progress_is_waited_for(api: HttpApi, receiver: Receiver) -> None:
    receiver.go.clear()
    with ThreadPoolExecutor() as threads:
        threads.submit(post, api)
        wait_until(lambda: api._in_flight, "a delivery in progress")
        known = threads.submit(api.has_published, "eb-1")
        receiver.go.set()

        assert known.result()
    assert not api.has_published("eb-2")
