"""The HTTP API's own answers."""

import socket
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import requests

from openai_webhooks_cli.local.function_pool import FunctionPool
from openai_webhooks_cli.local.http_api import AnsweredDelivery, HttpApi

ROUTE = ("POST", "/webhooks/openai")


@pytest.fixture
def answered() -> list[AnsweredDelivery]:
    return []


@pytest.fixture
def api(answered: list[AnsweredDelivery], tmp_path: Path) -> Iterator[HttpApi]:
    """An HTTP API whose function raises."""

    def invoke(_event: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_exception(ZeroDivisionError())
        return future

    pool = cast(FunctionPool, SimpleNamespace(invoke=invoke))
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        closing(HttpApi(listener, ROUTE, pool, log=tmp_path / "log", on_answer=answered.append)) as api,
    ):
        yield api


def test_exception_of_function_becomes_500(api: HttpApi, answered: list[AnsweredDelivery]) -> None:
    response = requests.post(api.url, json={"type": "batch.failed", "id": "evt_1"}, timeout=10)

    assert (response.status_code, response.json()) == (500, {"message": "Internal Server Error"})
    (delivery,) = answered
    assert (delivery.event_type, delivery.event_id, delivery.status) == ("batch.failed", "evt_1", 500)


def test_other_route_becomes_404(api: HttpApi, answered: list[AnsweredDelivery]) -> None:
    assert requests.get(api.url, timeout=10).status_code == 404
    assert requests.post(f"{api.url}/other", timeout=10).status_code == 404
    assert answered == []


def test_body_that_is_not_json_is_delivered(api: HttpApi, answered: list[AnsweredDelivery]) -> None:
    requests.post(api.url, data=b"\xff", timeout=10)

    assert [delivery.event_type for delivery in answered] == ["?"]
