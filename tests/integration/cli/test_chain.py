"""The demonstration: it notices what it is there to notice, and its functions get by with their own roles.

What other services may do, and on what conditions, is in tests/unit/template/test_template_permissions.py.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest
import requests
from botocore.exceptions import ClientError
from moto.core.exceptions import JsonRESTError
from moto.events.models import EventsBackend
from moto.iam.models import Role

from webhooks import demo, samples
from webhooks.chain import Chain, PortTakenError
from webhooks.stacks import REGION

if TYPE_CHECKING:
    from tests.integration.cli.conftest import Privileges

RECEIVER: Final = "ReceiverFunction"
SUBSCRIBERS: Final = ("OnBatchFunction", "OnCallFunction", "OnFailureFunction", "OnResponseCompletedFunction")

BY_LAMBDA: Final = {
    "logs:CreateLogStream": "writes the log",
    "logs:PutLogEvents": "writes the log",
    "sqs:SendMessage": "puts what a function gives up on among its dead letters",
    "xray:PutTelemetryRecords": "sends the traces",
    "xray:PutTraceSegments": "sends the traces",
}
"""What Lambda itself does in a function's role."""

KEY: Final = {"id": {"S": "x"}}


def test_everything_is_right(chain: Chain, results: list[demo.Result]) -> None:
    assert list(demo.faults(chain, results)) == []
    assert len(results) == 34 + 9


def test_a_wrong_answer_is_a_fault(chain: Chain, results: list[demo.Result]) -> None:
    forged = next(result for result in results if "forged" in result.delivery.label)
    accepted = forged._replace(status=200, outcome="published")

    assert any("200 published, not 401" in fault for fault in demo.faults(chain, [accepted]))


@pytest.mark.parametrize(
    "arrivals",
    [
        pytest.param([], id="missed"),
        pytest.param(["OnBatch"], id="missed one of two"),
        pytest.param(["OnBatch", "OnBatch", "OnFailure"], id="reached twice"),
        pytest.param(["OnBatch", "OnCall", "OnFailure"], id="reached another"),
        pytest.param(["OnBatch", "OnFailure failed (ValueError)"], id="failed"),
    ],
)
def test_a_wrong_arrival_is_a_fault(
    chain: Chain, results: list[demo.Result], monkeypatch: pytest.MonkeyPatch, arrivals: list[str]
) -> None:
    (event,) = (result.delivery.event for result in results if result.delivery.label == "batch.failed")
    monkeypatch.setitem(chain.subscribers._arrivals, event["id"], arrivals)

    (fault,) = demo.faults(chain, results)
    assert fault.startswith("batch.failed: reached")


def test_an_arrival_of_what_was_refused_is_a_fault(
    chain: Chain, results: list[demo.Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    (event,) = (result.delivery.event for result in results if "stale" in result.delivery.label)
    monkeypatch.setitem(chain.subscribers._arrivals, event["id"], ["OnBatch"])

    assert list(demo.faults(chain, results)) == ["batch.completed: reached ['OnBatch'], not []"]


def test_a_taken_port_is_named(chain: Chain, secret: str, tmp_path: Path) -> None:
    port = int(chain.front.url.split(":")[2].split("/")[0])

    with pytest.raises(PortTakenError, match=rf"Port {port} is taken.*--port"):
        Chain(secret=secret, log=tmp_path / "log", port=port)


# --- Least privilege, from the other side


@pytest.fixture(scope="module")
def full_run(chain: Chain, results: object, privileges: "Privileges", secret: str) -> "Privileges":
    """What the demonstration left, and a delivery that can't be published, and events that can't be handled."""

    def fail(*_args: object) -> None:
        raise JsonRESTError("InternalException", "EventBridge fails")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EventsBackend, "put_events", fail)
        now = int(time.time())
        body = samples.encode(samples.sample("batch.completed", created_at=now))
        headers = samples.headers(body, secret=secret, timestamp=now, webhook_id=samples.new_id("wh_"))
        assert requests.post(chain.front.url, data=body, headers=headers, timeout=30).status_code == 503

    for name in SUBSCRIBERS:
        event = json.dumps({"id": "1", "detail": {"id": name}})
        chain.aws.client("sqs").send_message(QueueUrl=privileges.functions[name].inbox, MessageBody=event)
    chain.subscribers.settle()
    assert [chain.subscribers.reached(name) for name in SUBSCRIBERS] == [
        [f"{name.removesuffix('Function')} failed (Malformed)"] for name in SUBSCRIBERS
    ]
    # The attempts below are none of the functions'.
    return replace(privileges, calls=privileges.calls[:], denied=privileges.denied[:])


def test_every_call_is_allowed(full_run: "Privileges") -> None:
    assert full_run.denied == []


@pytest.mark.parametrize("function", [RECEIVER, *SUBSCRIBERS])
def test_all_that_is_allowed_is_used(full_run: "Privileges", function: str) -> None:
    role = full_run.roles[function]
    used = {(call.action, call.resource) for call in full_run.calls if call.role == role.name}

    assert {(action, resource) for action, resource in allowed(role) if action not in BY_LAMBDA} == used


def put_event(events: Any, bus: str) -> None:
    entry = {"Source": "openai.com", "DetailType": "x", "Detail": "{}", "EventBusName": bus}
    events.put_events(Entries=[entry])


def read(secretsmanager: Any, secret_id: str) -> None:
    secretsmanager.get_secret_value(SecretId=secret_id)


ATTEMPTS: Final[dict[str, tuple[str, str, Callable[[Any, str], object]]]] = {
    "receiver: publish on another bus": (RECEIVER, "events", lambda events, _: put_event(events, "default")),
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
    "receiver: write a subscriber's records": (
        RECEIVER,
        "dynamodb",
        lambda dynamodb, _: dynamodb.put_item(TableName="HandledEventsTable", Item=KEY),
    ),
    "subscriber: publish": (SUBSCRIBERS[0], "events", lambda events, _: put_event(events, "openai-webhooks")),
    "subscriber: read the signing secret": (SUBSCRIBERS[0], "secretsmanager", read),
    "subscriber: write the receiver's records": (
        SUBSCRIBERS[0],
        "dynamodb",
        lambda dynamodb, _: dynamodb.put_item(TableName="DeliveriesTable", Item=KEY),
    ),
}
"""Who tries it, of which service, and how, given the signing secret's ARN."""


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_nothing_else_is_allowed(chain: Chain, privileges: "Privileges", attempt: str) -> None:
    function, service, call = ATTEMPTS[attempt]
    credentials = privileges.functions[function].environment
    client = boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=chain.aws.url,
        region_name=REGION,
        aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=credentials["AWS_SESSION_TOKEN"],
    )
    with pytest.raises(ClientError, match=r"AccessDenied.* is not authorized to perform"), closing(client):
        call(client, privileges.functions[RECEIVER].environment["SIGNING_SECRET_ARN"])


def allowed(role: Role) -> Iterator[tuple[str, str]]:
    """Each action, and the resource on which the role allows it."""
    attached = [policy.versions[-1].document for policy in role.managed_policies.values()]
    for document in [*role.policies.values(), *attached]:
        for statement in json.loads(document)["Statement"]:
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                yield action, statement["Resource"]
