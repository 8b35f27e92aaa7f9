"""Who may do what: wildcards have a reason, conditions narrow, and the receiver may do what it does and no more."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
import time_machine

from tests.support.receiver_instance import NOW, Clock, ReceiverInstance, environment, in_memory_aws
from tests.support.templates import RECEIVER, Stack

ANY_RESOURCE: Final = {
    ("ReceiverRole", "xray:PutTraceSegments"): "X-Ray's actions support no resource-level permissions",
    ("ReceiverRole", "xray:PutTelemetryRecords"): "X-Ray's actions support no resource-level permissions",
}
OF_LAMBDA: Final = {"logs", "xray"}
"""Services that Lambda itself calls with the function's role."""
CONDITIONS: Final = {
    "events:PutEvents": {"StringEquals": {"events:source": {"Ref": "EventSource"}}},
    "logs:PutLogEvents": {"ArnEquals": {"aws:SourceArn": "${ArrivalRule.Arn}"}},
    # Without "Null", a pattern that names no source would be allowed, and match every event on the bus.
    "events:PutRule": {
        "StringEquals": {"events:source": [{"Ref": "EventSource"}, {"Fn::Sub": "${EventSource}.enriched"}]},
        "Null": {"events:source": "false"},
        "StringEqualsIfExists": {"events:creatorAccount": "${aws:PrincipalAccount}"},
    },
    "events:PutTargets": {"StringEqualsIfExists": {"events:creatorAccount": "${aws:PrincipalAccount}"}},
}


def test_wildcard_has_reason() -> None:
    for holder, statement in statements(RECEIVER.defaults):
        for action in actions(statement):
            assert "*" not in action, holder
            assert statement["Resource"] != "*" or (holder, action) in ANY_RESOURCE, action


@pytest.mark.parametrize("action", CONDITIONS)
def test_condition_narrows_action(action: str) -> None:
    conditions = [
        statement["Condition"]
        for _, statement in statements(RECEIVER.defaults)
        if action in actions(statement) and "Condition" in statement
    ]

    assert conditions == [CONDITIONS[action]]


def test_receiver_may_do_only_what_it_does() -> None:
    with time_machine.travel(NOW, tick=False) as traveller:
        receiver = ReceiverInstance(in_memory_aws(), Clock(traveller), environment())
        receiver.deliver(webhook_id="wh_published")
        receiver.refuse("PutEvents")
        receiver.deliver(webhook_id="wh_released")
    services = {"GetSecretValue": "secretsmanager", "PutEvents": "events"}
    called = {f"{services.get(call.operation, 'dynamodb')}:{call.operation}" for call in receiver.calls}

    own = [statement for holder, statement in statements(RECEIVER.defaults) if holder == "ReceiverRole"]
    allowed = {action for statement in own for action in actions(statement)}
    assert {action for action in allowed if action.partition(":")[0] not in OF_LAMBDA} == called


def test_tracing_is_allowed_only_if_enabled() -> None:
    for tracing in ("true", "false"):
        stack = RECEIVER.untransformed(Tracing=tracing)
        [policy] = stack.properties("ReceiverRole")["Policies"]
        allowed = json.dumps(stack.value(policy["PolicyDocument"]))
        assert ("xray:" in allowed) == (tracing == "true")


def statements(stack: Stack) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the role or policy, and each of its statements, except roles' trust policies."""
    for holder, resource in stack.resources.items():
        properties = resource.get("Properties", {})
        documents = [
            *(policy["PolicyDocument"] for policy in properties.get("Policies", [])),
            *([properties["PolicyDocument"]] if "PolicyDocument" in properties else []),
            *([{"Statement": [properties["Statement"]]}] if "Statement" in properties else []),
        ]
        for document in documents:
            text = document.get("Fn::Sub")
            for statement in (json.loads(text) if text else document)["Statement"]:
                yield holder, statement.get("Fn::If", ["", statement])[1]  # with its condition true


def actions(statement: dict[str, Any]) -> list[str]:
    return [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
