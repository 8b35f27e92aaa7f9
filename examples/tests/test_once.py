"""`handle_once`, over DynamoDB: each event is handled once by each function, and a failed attempt is repeated."""

import importlib
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyPersistenceLayerError,
)

from examples.tests.support.example_functions import aws_client, create_table, delivered
from examples.tests.support.templates import SUBSCRIBER
from openai_webhooks_cli.local.function_process import LambdaContext
from tests.support.moto_stack import CREDENTIALS, moto_server

TABLE: Final = "events-of-test-once"
CANARY: Final = "canary of the payload"
OPENAI_RETRIES: Final = 72 * 3600
"""Seconds: https://platform.openai.com/docs/guides/webhooks"""

type Handler = Callable[..., None]


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture
def dynamodb(aws: str) -> Iterator[Any]:
    client = aws_client(aws, "dynamodb")
    create_table(client, "subscriber", "HandledEventsTable", TABLE)
    yield client
    if TABLE in client.list_tables()["TableNames"]:  # a test deletes it
        client.delete_table(TableName=TABLE)


@pytest.fixture
def start(aws: str, dynamodb: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Handler]:
    """Return a function that starts an instance of a function whose work is `work`."""

    def start(work: Handler, name: str = "on_event") -> Handler:
        environment = {"AWS_ENDPOINT_URL": aws, "HANDLED_EVENTS_TABLE_NAME": TABLE, "AWS_LAMBDA_FUNCTION_NAME": name}
        for variable, value in (CREDENTIALS | environment).items():
            monkeypatch.setenv(variable, value)
        from openai_webhooks_subscriber import once  # noqa: PLC0415  # the module reads the environment

        def handler(event: dict[str, Any], context: LambdaContext) -> None:
            work(event)

        handle: Handler = importlib.reload(once).handle_once(handler)
        return lambda event, remaining=30: handle(event, context(name, remaining))

    return start


def context(name: str, remaining: float) -> LambdaContext:
    """Return Lambda's context for an invocation that Lambda ends after `remaining` seconds."""
    return LambdaContext(name, deadline=time.monotonic() + remaining)


def records(dynamodb: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = dynamodb.scan(TableName=TABLE)["Items"]
    return items


def test_copy_is_not_handled_again(start: Callable[..., Handler]) -> None:
    for missing in ("", "id", "created_at", "data", "object"):
        handled: list[Any] = []
        event = delivered("response.completed")
        event["detail"].pop(missing, None)
        # EventBridge gives OpenAI's retry a new id, and another instance may get it.
        again = event if missing == "id" else event | {"id": "eventbridge-2", "time": "2025-06-25T14:25:10Z"}

        function = start(handled.append)
        function(event)
        function(event)
        start(handled.append)(again)

        assert handled == [event], missing


def test_events_of_one_resource_are_all_handled(start: Callable[..., Handler]) -> None:
    handled: list[Any] = []
    function = start(handled.append)
    for _ in range(2):
        function(delivered("response.completed", id="resp_1"))
    assert len(handled) == 2


def test_two_functions_handle_same_event(start: Callable[..., Handler], dynamodb: Any) -> None:
    handled: list[Any] = []
    event = delivered("batch.failed")
    for name in ("on_batch", "on_failure"):
        start(handled.append, name)(event)
    assert handled == [event, event]
    assert len(records(dynamodb)) == 2


def test_concurrent_copy_fails_and_is_not_handled_later(start: Callable[..., Handler]) -> None:
    handled: list[Any] = []

    def work(event: dict[str, Any]) -> None:
        with pytest.raises(IdempotencyAlreadyInProgressError):
            start(handled.append)(event)
        handled.append(event)

    event = delivered("response.completed")
    start(work)(event)
    start(handled.append)(event)

    assert handled == [event]


class Killed(BaseException):
    """The end of an instance. `except Exception` does not catch it."""


def test_failed_attempt_is_repeated(start: Callable[..., Handler]) -> None:
    for end in (ValueError, Killed):
        handled: list[Any] = []
        event = delivered("response.completed")

        def fail(_: object, end: type[BaseException] = end) -> None:
            raise end

        # Before the retry, the invocation has timed out, so its claim has expired.
        with pytest.raises(end):
            start(fail)(event, remaining=-1)
        start(handled.append)(event)

        assert handled == [event], end


def test_record_outlives_all_retries_without_payload(start: Callable[..., Handler], dynamodb: Any) -> None:
    [target] = SUBSCRIBER.defaults.properties("OnResponseCompletedFunctionRule")["Targets"]
    start(lambda _: None)(delivered("response.completed", name=CANARY))

    [record] = records(dynamodb)
    remembered = int(record["expiration"]["N"]) - time.time()
    assert remembered > OPENAI_RETRIES + target["RetryPolicy"]["MaximumEventAgeInSeconds"] - 60
    assert CANARY not in str(record)


def test_unreachable_table_stops_handling(start: Callable[..., Handler], dynamodb: Any) -> None:
    handled: list[Any] = []
    dynamodb.delete_table(TableName=TABLE)

    with pytest.raises(IdempotencyPersistenceLayerError):
        start(handled.append)(delivered("response.completed"))
    assert handled == []
