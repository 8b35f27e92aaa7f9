"""The real entry point: what app.py makes of the environment, over moto."""

import importlib
import io
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from types import ModuleType
from typing import Any

import pytest
from botocore.httpsession import URLLib3Session

from receiver import tls
from tests.support.moto_stack import MotoStack
from tests.support.receiver_instance import NOW, Answer, Clock, LambdaContext, ReceiverInstance, ids
from tests.support.templates import deduplication_hours


@pytest.fixture(scope="module")
def app(stack: MotoStack) -> Iterator[ModuleType]:
    """The module, imported once, as Lambda imports it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        # app.py replaces these for the whole process.
        for name in ("_get_ssl_context", "_setup_ssl_cert"):
            patch.setattr(URLLib3Session, name, getattr(URLLib3Session, name))
        yield importlib.import_module("receiver.app")


@pytest.fixture
def sender(stack: MotoStack, clock: Clock) -> ReceiverInstance:
    """Signs deliveries."""
    return ReceiverInstance(stack, clock, stack.settings)


@pytest.fixture
def handle(app: ModuleType) -> Callable[[dict[str, Any]], Answer]:
    """Calls the handler."""

    def handle(request: dict[str, Any]) -> Answer:
        with redirect_stdout(io.StringIO()) as stdout:
            return Answer.of(app.handler(request, LambdaContext()), stdout.getvalue())

    return handle


def test_handler_publishes_once(
    handle: Callable[[dict[str, Any]], Answer], sender: ReceiverInstance, stack: MotoStack
) -> None:
    first = handle(sender.delivery(webhook_id="wh_1"))
    assert (first.status, first.body) == (200, {"outcome": "published"})
    second = handle(sender.delivery(webhook_id="wh_1"))
    assert (second.status, second.body) == (200, {"outcome": "duplicate"})
    [event] = stack.arrived()
    assert (event["source"], event["detail-type"]) == ("openai.com", "response.completed")
    assert event["time"] == "2025-06-25T14:20:10Z"
    assert first.line["eventbridge_id"] == second.line["eventbridge_id"] == event["id"]
    assert event["detail"] == {
        "id": "evt_685c059ae3a481909bdc86819b066fb6",
        "object": "event",
        "created_at": NOW,
        "type": "response.completed",
        "data": {"id": "resp_123"},
    }


def test_record_expires_after_deduplication_window(
    handle: Callable[[dict[str, Any]], Answer], sender: ReceiverInstance, stack: MotoStack
) -> None:
    handle(sender.delivery(webhook_id="wh_2"))
    assert NOW + deduplication_hours() * 3600 in {int(record["expiration"]) for record in stack.records()}


def test_forgery_and_malformed_body_are_rejected(
    handle: Callable[[dict[str, Any]], Answer], sender: ReceiverInstance
) -> None:
    forged = sender.delivery(headers={"webhook-signature": "v1,forged"})
    assert (handle(forged).status, handle(sender.delivery(b"[]")).status) == (401, 400)


def test_metrics_have_the_namespace_of_the_stack(
    handle: Callable[[dict[str, Any]], Answer], sender: ReceiverInstance, stack: MotoStack
) -> None:
    line = handle(sender.delivery(webhook_id="wh_3")).line
    [metrics] = line["_aws"]["CloudWatchMetrics"]
    assert metrics["Namespace"] == stack.settings["POWERTOOLS_METRICS_NAMESPACE"]
    assert line["service"] == "receiver"


def test_handler_reads_real_clock(
    handle: Callable[[dict[str, Any]], Answer], sender: ReceiverInstance, clock: Clock
) -> None:
    delivery = sender.delivery(webhook_id="wh_4")
    clock.advance(301)
    assert handle(delivery).status == 401
    clock.advance(-1.1)  # 299.9 s
    assert handle(delivery).status == 200


def test_failed_read_of_secret_does_not_count_as_malformed_secret(
    handle: Callable[[dict[str, Any]], Answer], sender: ReceiverInstance, stack: MotoStack, clock: Clock
) -> None:
    assert handle(sender.delivery(webhook_id="wh_5")).status == 200
    secrets, secret_id = stack.client("secretsmanager"), stack.settings["SIGNING_SECRET_ARN"]
    secrets.delete_secret(SecretId=secret_id)
    clock.advance(300)
    answer = handle(sender.delivery(webhook_id="wh_6"))
    secrets.restore_secret(SecretId=secret_id)
    assert answer.metrics == {"Published": 1}


def test_clients_share_tls_context(app: ModuleType) -> None:
    assert URLLib3Session._get_ssl_context is tls._get_ssl_context  # type: ignore[attr-defined]  # botocore has no types


def test_rule_matches_an_unknown_type_by_prefix(stack: MotoStack, clock: Clock) -> None:
    bus = stack.add_bus("prefix", '{"source": ["openai.com"], "detail-type": [{"prefix": "dream."}]}')
    receiver = ReceiverInstance(stack, clock, {**stack.settings, "EVENT_BUS_NAME": bus})
    stack.arrived()
    for type_ in ("dream.begun", "response.completed", "dream.completed"):
        receiver.deliver(f'{{"id": "{type_}", "type": "{type_}"}}'.encode(), webhook_id=type_)
    assert ids(stack.arrived()) == ["dream.begun", "dream.completed"]
