"""The receiver and the example `subscriber`, deployed together, and what tests ask them and take from them."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from standardwebhooks import Webhook

from cli.tests.support.signed_delivery import Delivery
from evidence.deployment.ministack import Deployed
from openai_webhooks import CATALOG
from openai_webhooks_cli import samples
from tests.support import background

SECRET: Final = samples.new_secret()
"""Signs the deliveries of all tests, except those of commands that get another secret from OpenAI."""
PUBLISHED: Final = (200, {"outcome": "published"})
DUPLICATE: Final = (200, {"outcome": "duplicate"})
UNVERIFIED: Final = (401, {"error": "Unverified"})
MISMATCH: Final = (401, {"error": "SignatureMismatch"})


class Stacks(NamedTuple):
    """Both stacks."""

    receiver: Deployed
    subscriber: Deployed

    def handled(self) -> Counter[tuple[str, str]]:
        """Return how often each function logged that it handled an event: by the function's logical id and event id."""
        names = {physical: logical for logical, (_, physical) in self.subscriber.resources.items()}
        lines = self.subscriber.json_log("FunctionsLog")
        return Counter((names[line["function_name"]], line["correlation_id"]) for line in lines)

    def wait_for(self, handled: Counter[tuple[str, str]]) -> None:
        """Wait until the functions have handled these events."""
        wait_until(lambda: handled <= self.handled(), "subscribers that handle the events")

    def invocations(self) -> int:
        """Return how often subscribers were invoked."""
        return sum(line.startswith("START ") for line in self.subscriber.log("FunctionsLog"))

    def send(self, delivery: Delivery) -> tuple[int, Any]:
        return delivery.post(self.receiver.url)

    def arrivals(self, *deliveries: Delivery) -> int:
        """Return how often the bus received the events of deliveries."""
        ids = {line["eventbridge_id"] for line in self.lines(*deliveries) if "eventbridge_id" in line}
        return sum(line in ids for line in self.receiver.log("ArrivalLog"))

    def lines(self, *deliveries: Delivery) -> list[dict[str, Any]]:
        """Return what the receiver logged about deliveries."""
        ids = {delivery.headers["webhook-id"] for delivery in deliveries}
        return [line for line in self.receiver.json_log("ReceiverLog") if line.get("webhook_id") in ids]

    def dead_letters(self, function: str) -> list[str]:
        """Remove the messages from a subscriber's dead-letter queue. Return the ids of their events."""
        messages = self.subscriber.aws.received(self.subscriber.id_of(function.replace("Function", "DeadLetters")))
        return [message["requestPayload"]["detail"]["id"] for message in messages]


def wait_until[Found](found: Callable[[], Found], what: str) -> Found:
    """Wait until `found` returns something true. It reads logs, so it is not called all the time."""
    return background.wait_until(found, what, seconds=120, pause=0.3)


def signed(event_type: str, **data: object) -> Delivery:
    """Return a delivery of a new event. `data` replaces fields of OpenAI's data."""
    known = event_type if event_type in CATALOG else "batch.completed"
    event = samples.sample(known, created_at=int(time.time()), event_id=samples.new_id("evt_"))
    return sign({**event, "type": event_type, "data": event["data"] | data})


def sign(event: dict[str, Any]) -> Delivery:
    """Return a new delivery of an event that the library of Standard Webhooks has signed."""
    body, now = samples.encode(event), int(time.time())
    headers = samples.headers(body, secret=SECRET, timestamp=now, webhook_id=samples.new_id("wh_"))
    signature = Webhook(SECRET).sign(headers["webhook-id"], datetime.fromtimestamp(now, UTC), body.decode())
    return Delivery(event, body, headers | {"webhook-signature": signature})


def statements(stack: Deployed, role: str) -> list[dict[str, Any]]:
    """Return the statements of a role's only inline policy."""
    iam, role_name = stack.aws.client("iam"), stack.id_of(role)
    [policy] = iam.list_role_policies(RoleName=role_name)["PolicyNames"]
    document = iam.get_role_policy(RoleName=role_name, PolicyName=policy)["PolicyDocument"]
    found: list[dict[str, Any]] = document["Statement"]
    return found


@contextmanager
def denied(stack: Deployed, role: str, action: str) -> Iterator[None]:
    """Remove the statement with this action from the role, until the end of the `with` statement."""
    iam, role_name, before = stack.aws.client("iam"), stack.id_of(role), statements(stack, role)
    [policy] = iam.list_role_policies(RoleName=role_name)["PolicyNames"]
    names = {"RoleName": role_name, "PolicyName": policy}

    def put(statements: list[dict[str, Any]]) -> None:
        if statements:
            document = json.dumps({"Version": "2012-10-17", "Statement": statements})
            iam.put_role_policy(**names, PolicyDocument=document)
        else:
            iam.delete_role_policy(**names)

    rest = [statement for statement in before if action not in statement["Action"]]
    assert len(rest) == len(before) - 1
    put(rest)
    try:
        yield
    finally:
        put(before)


@contextmanager
def detached(stack: Deployed, role: str, policy: str) -> Iterator[None]:
    """Detach a managed policy from the role, until the end of the `with` statement."""
    iam = stack.aws.client("iam")
    names = {"RoleName": stack.id_of(role), "PolicyArn": stack.id_of(policy)}
    iam.detach_role_policy(**names)
    try:
        yield
    finally:
        iam.attach_role_policy(**names)
