"""The demo notices what goes wrong, and the functions need exactly the permissions that they have.

Permissions of other services, and conditions, are in tests/unit/template/test_permissions.py.
"""

import gc
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, Final

import boto3
import pytest
import requests
from botocore.exceptions import ClientError

from cli.tests.support.least_privilege import Permissions, allowed, enforced_permissions
from openai_webhooks import CATALOG
from openai_webhooks_cli import samples
from openai_webhooks_cli.local import demo
from openai_webhooks_cli.local.event_bridge import EventBridge
from openai_webhooks_cli.local.local_system import LocalSystem
from openai_webhooks_cli.local.sam_template import REGION
from openai_webhooks_cli.local.subscribers import Arrival

RECEIVER: Final = "ReceiverFunction"
SUBSCRIBERS: Final = ("OnBatchFunction", "OnFailureFunction")

LAMBDA_ACTIONS: Final = {
    "logs:CreateLogStream": "writes the log",
    "logs:PutLogEvents": "writes the log",
    "sqs:SendMessage": "sends failed events to the dead-letter queue",
}
"""What Lambda itself does with a function's role."""

PREVIOUS_SECRET: Final = samples.new_secret()
"""The signing secret before the demo's rotation."""
SECRET: Final = samples.new_secret()
"""The signing secret after the demo's rotation."""


@pytest.fixture(scope="module")
def permissions() -> Iterator[Permissions]:
    with enforced_permissions() as permissions:
        yield permissions


@pytest.fixture(scope="module")
def system(permissions: Permissions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSystem]:
    with LocalSystem(secret=PREVIOUS_SECRET, logs=tmp_path_factory.mktemp("local-system")) as system:
        # A full garbage collection of this process takes about as long as the functions wait for its AWS.
        gc.collect()
        gc.freeze()
        yield system
        gc.unfreeze()


@pytest.fixture(scope="module")
def results(system: LocalSystem) -> list[demo.Result]:
    """The results of the demo's deliveries."""
    return list(demo.deliver(system, secret=SECRET, previous_secret=PREVIOUS_SECRET))


def test_demo_finds_no_failure(system: LocalSystem, results: list[demo.Result]) -> None:
    assert list(demo.find_failures(system, results)) == []
    assert len(results) == len(CATALOG) + 9


def test_demo_finds_wrong_answer(system: LocalSystem, results: list[demo.Result]) -> None:
    forged = next(result for result in results if "forged" in result.case.label)
    accepted = forged._replace(status=200, outcome="published")

    assert any("200 published" in failure for failure in demo.find_failures(system, [accepted]))


@pytest.mark.parametrize(
    ("label", "arrivals"),
    [
        pytest.param("batch.failed", [], id="reached none"),
        pytest.param("batch.failed", ["OnBatch"], id="reached one of two"),
        pytest.param("batch.failed", ["OnBatch", "OnBatch", "OnFailure"], id="reached one twice"),
        pytest.param("batch.failed", ["OnBatch", "OnCall", "OnFailure"], id="reached another"),
        pytest.param("batch.failed", ["OnBatch", "OnFailure failed: ValueError: x"], id="one failed"),
        pytest.param("batch.completed, forged", ["OnBatch"], id="rejected and reached one"),
    ],
)
def test_demo_finds_wrong_arrival(
    system: LocalSystem, results: list[demo.Result], monkeypatch: pytest.MonkeyPatch, label: str, arrivals: list[str]
) -> None:
    [event] = [result.case.event for result in results if result.case.label == label]
    others = [arrival for arrival in system.subscribers._arrivals if arrival.event["detail"]["id"] != event["id"]]
    parts = [arrival.partition(" failed: ") for arrival in arrivals]
    planted = [Arrival(name, {"detail": event}, failure, None, 0.0, ()) for name, _, failure in parts]
    monkeypatch.setattr(system.subscribers, "_arrivals", deque([*others, *planted]))

    [failure] = demo.find_failures(system, results)
    assert failure.startswith(f"{event['type']}: reached {arrivals}")


# ---- Least privilege


@pytest.fixture(scope="module")
def used(system: LocalSystem, results: object, permissions: Permissions) -> Permissions:
    """The permissions after the demo, a delivery that EventBridge refuses, and an event that no subscriber can handle.

    The calls do not include the attempts of test_other_calls_are_denied.
    """

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventBridge, "_put_event", lambda *_: {"ErrorCode": "InternalFailure"})
        now = int(time.time())
        body = samples.encode(samples.sample("batch.completed", created_at=now))
        headers = samples.headers(body, secret=SECRET, timestamp=now, webhook_id=samples.new_id("wh_"))
        assert requests.post(system.http_api.url, data=body, headers=headers, timeout=30).status_code == 503

    entry: Any = {"Source": "openai.com", "DetailType": "batch.failed", "Detail": '{"id": "evt_malformed"}'}
    system.aws.client("events").put_events(Entries=[{**entry, "EventBusName": system.bus}])
    system.subscribers.wait_until_idle()
    arrivals = system.subscribers.arrivals(event_id="evt_malformed")
    assert {f"{arrival.subscriber}Function" for arrival in arrivals} == set(SUBSCRIBERS)
    assert all(arrival.failure.startswith("Malformed: ") for arrival in arrivals)
    return replace(permissions, calls=permissions.calls[:], denied=permissions.denied[:])


def test_every_call_is_allowed(used: Permissions) -> None:
    assert used.denied == []


@pytest.mark.parametrize("function", [RECEIVER, *SUBSCRIBERS])
def test_every_permission_is_used(used: Permissions, function: str) -> None:
    role = used.roles[function]
    calls = {(call.action, call.resource) for call in used.calls if call.role == role.name}

    assert {(action, resource) for action, resource in allowed(role) if action not in LAMBDA_ACTIONS} == calls


@pytest.mark.parametrize("function", [RECEIVER, SUBSCRIBERS[0]])
def test_other_calls_are_denied(system: LocalSystem, permissions: Permissions, function: str) -> None:
    environment = permissions.functions[function].environment
    session = boto3.Session(
        environment["AWS_ACCESS_KEY_ID"],
        environment["AWS_SECRET_ACCESS_KEY"],
        environment["AWS_SESSION_TOKEN"],
        region_name=REGION,
    )
    secret = permissions.functions[RECEIVER].environment["SIGNING_SECRET_ARN"]
    entry: Any = {"Source": "openai.com", "DetailType": "x", "Detail": "{}", "EventBusName": "default"}
    with (
        closing(session.client("events", endpoint_url=system.aws.url)) as events,
        closing(session.client("secretsmanager", endpoint_url=system.aws.url)) as secrets,
        closing(session.client("dynamodb", endpoint_url=system.aws.url)) as dynamodb,
    ):
        attempts: list[Callable[[], object]] = [
            lambda: events.put_events(Entries=[entry]),
            lambda: secrets.put_secret_value(SecretId=secret, SecretString="x"),
            lambda: dynamodb.get_item(TableName="DeliveriesTable", Key={"id": {"S": "x"}}),
        ]
        if function != RECEIVER:
            attempts.append(lambda: secrets.get_secret_value(SecretId=secret))
        for attempt in attempts:
            with pytest.raises(ClientError, match=r"AccessDenied.* is not authorized to perform"):
                attempt()
