"""The demo notices what goes wrong, and the functions need exactly the permissions that they have.

Permissions of other services, and conditions, are in tests/unit/template/test_permissions.py.
"""

import gc
import json
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
from moto.core.exceptions import JsonRESTError
from moto.events.models import EventsBackend

from cli.tests.support.least_privilege import Permissions, allowed, enforced_permissions
from openai_webhooks import CATALOG
from openai_webhooks_cli import samples
from openai_webhooks_cli.local import demo
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

KEY: Final = {"id": {"S": "x"}}


@pytest.fixture(scope="module")
def previous_secret() -> str:
    """The signing secret before the demo's rotation."""
    return samples.new_secret()


@pytest.fixture(scope="module")
def secret() -> str:
    """The signing secret after the demo's rotation."""
    return samples.new_secret()


@pytest.fixture(scope="module")
def permissions() -> Iterator[Permissions]:
    with enforced_permissions() as permissions:
        yield permissions


@pytest.fixture(scope="module")
def system(
    previous_secret: str, permissions: Permissions, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalSystem]:
    logs = tmp_path_factory.mktemp("local-system")
    with LocalSystem(secret=previous_secret, logs=logs) as system:
        # A full garbage collection of this process takes about as long as the functions wait for its AWS.
        gc.collect()
        gc.freeze()
        yield system
        gc.unfreeze()


@pytest.fixture(scope="module")
def results(system: LocalSystem, secret: str, previous_secret: str) -> list[demo.Result]:
    """The results of the demo's deliveries."""
    return list(demo.deliver(system, secret=secret, previous_secret=previous_secret))


def test_demo_finds_no_failure(system: LocalSystem, results: list[demo.Result]) -> None:
    assert list(demo.find_failures(system, results)) == []
    assert len(results) == len(CATALOG) + 9


def test_demo_finds_wrong_answer(system: LocalSystem, results: list[demo.Result]) -> None:
    forged = next(result for result in results if "forged" in result.case.label)
    accepted = forged._replace(status=200, outcome="published")

    assert any("200 published" in failure for failure in demo.find_failures(system, [accepted]))


@pytest.mark.parametrize(
    "arrivals",
    [
        pytest.param([], id="reached none"),
        pytest.param(["OnBatch"], id="reached one of two"),
        pytest.param(["OnBatch", "OnBatch", "OnFailure"], id="reached one twice"),
        pytest.param(["OnBatch", "OnCall", "OnFailure"], id="reached another"),
        pytest.param(["OnBatch", "OnFailure failed: ValueError: x"], id="one failed"),
    ],
)
def test_demo_finds_wrong_arrival(
    system: LocalSystem, results: list[demo.Result], monkeypatch: pytest.MonkeyPatch, arrivals: list[str]
) -> None:
    (event,) = (result.case.event for result in results if result.case.label == "batch.failed")
    replace_arrivals(system, monkeypatch, event, arrivals)

    (failure,) = demo.find_failures(system, results)
    assert failure.startswith("batch.failed:")


def test_demo_finds_arrival_of_rejected_event(
    system: LocalSystem, results: list[demo.Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    (event,) = (result.case.event for result in results if "forged" in result.case.label)
    replace_arrivals(system, monkeypatch, event, ["OnBatch"])

    (failure,) = demo.find_failures(system, results)
    assert "['OnBatch']" in failure


def replace_arrivals(
    system: LocalSystem, patch: pytest.MonkeyPatch, event: dict[str, Any], subscribers: list[str]
) -> None:
    """Let an event have reached these subscribers. `NAME failed: REASON` is one that failed."""
    others = [a for a in system.subscribers._arrivals if a.event["detail"]["id"] != event["id"]]
    names = [(name, reason) for name, _, reason in (text.partition(" failed: ") for text in subscribers)]
    arrivals = [Arrival(name, {"detail": event}, reason, None, 0.0, ()) for name, reason in names]
    patch.setattr(system.subscribers, "_arrivals", deque([*others, *arrivals]))


# ---- Least privilege


@pytest.fixture(scope="module")
def used(system: LocalSystem, results: object, permissions: Permissions, secret: str) -> Permissions:
    """The permissions after the demo, a delivery that EventBridge refuses, and events that subscribers cannot handle.

    The calls do not include the attempts of test_other_call_is_denied.
    """

    def fail(*_args: object) -> None:
        raise JsonRESTError("InternalException", "EventBridge fails")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventsBackend, "put_events", fail)
        now = int(time.time())
        body = samples.encode(samples.sample("batch.completed", created_at=now))
        headers = samples.headers(body, secret=secret, timestamp=now, webhook_id=samples.new_id("wh_"))
        assert requests.post(system.http_api.url, data=body, headers=headers, timeout=30).status_code == 503

    for name in SUBSCRIBERS:
        event = json.dumps({"id": "1", "detail": {"id": name}})
        system.aws.client("sqs").send_message(QueueUrl=permissions.functions[name].inbox, MessageBody=event)
    system.subscribers.wait_until_idle()
    for name in SUBSCRIBERS:
        [arrival] = system.subscribers.arrivals(event_id=name)
        assert arrival.subscriber == name.removesuffix("Function")
        assert arrival.failure.startswith("Malformed: ")
    return replace(permissions, calls=permissions.calls[:], denied=permissions.denied[:])


def test_every_call_is_allowed(used: Permissions) -> None:
    assert used.denied == []


@pytest.mark.parametrize("function", [RECEIVER, *SUBSCRIBERS])
def test_every_permission_is_used(used: Permissions, function: str) -> None:
    role = used.roles[function]
    calls = {(call.action, call.resource) for call in used.calls if call.role == role.name}

    assert {(action, resource) for action, resource in allowed(role) if action not in LAMBDA_ACTIONS} == calls


def put_event(events: Any, bus: str) -> None:
    entry = {"Source": "openai.com", "DetailType": "x", "Detail": "{}", "EventBusName": bus}
    events.put_events(Entries=[entry])


def read(secretsmanager: Any, secret_id: str) -> None:
    secretsmanager.get_secret_value(SecretId=secret_id)


ATTEMPTS: Final[dict[str, tuple[str, str, Callable[[Any, str], object]]]] = {
    "receiver: publish to another bus": (RECEIVER, "events", lambda events, _: put_event(events, "default")),
    "receiver: read another secret": (RECEIVER, "secretsmanager", lambda secrets, _: read(secrets, "another")),
    "receiver: replace the signing secret": (
        RECEIVER,
        "secretsmanager",
        lambda secrets, secret: secrets.put_secret_value(SecretId=secret, SecretString="x"),
    ),
    "receiver: read its records": (
        RECEIVER,
        "dynamodb",
        lambda dynamodb, _: dynamodb.get_item(TableName="DeliveriesTable", Key=KEY),
    ),
    "receiver: write another table": (
        RECEIVER,
        "dynamodb",
        lambda dynamodb, _: dynamodb.put_item(TableName="Another", Item=KEY),
    ),
    "subscriber: publish": (SUBSCRIBERS[0], "events", lambda events, _: put_event(events, "openai-webhooks")),
    "subscriber: read the signing secret": (SUBSCRIBERS[0], "secretsmanager", read),
    "subscriber: write the receiver's records": (
        SUBSCRIBERS[0],
        "dynamodb",
        lambda dynamodb, _: dynamodb.put_item(TableName="DeliveriesTable", Item=KEY),
    ),
}
"""The function, the service, and a call that takes a client and the ARN of the signing secret."""


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_other_call_is_denied(system: LocalSystem, permissions: Permissions, attempt: str) -> None:
    function, service, call = ATTEMPTS[attempt]
    credentials = permissions.functions[function].environment
    client = boto3.client(
        service,  # type: ignore[call-overload]  # the stubs want a literal
        endpoint_url=system.aws.url,
        region_name=REGION,
        aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=credentials["AWS_SESSION_TOKEN"],
    )
    with pytest.raises(ClientError, match=r"AccessDenied.* is not authorized to perform"), closing(client):
        call(client, permissions.functions[RECEIVER].environment["SIGNING_SECRET_ARN"])
