"""`sam deploy` of both unmodified templates, and what OpenAI and subscribers then get.

ministack emulates AWS: change sets, SAM's transform, the HTTP API, functions, rules that invoke them, and IAM.
docs/guide/proven.md lists what it does not check.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from standardwebhooks import Webhook

from cli.tests.support.signed_delivery import Delivery, new_delivery
from evidence.deployment.ministack import ACCOUNT, Deployed, Ministack, built_checkout, ministack
from examples.tests.support.templates import SUBSCRIBER
from openai_webhooks import CATALOG
from openai_webhooks_cli import samples
from tests.support import background
from tests.support.paths import ROOT
from tests.support.templates import RECEIVER

SECRET: Final = samples.new_secret()
PUBLISHED: Final = (200, {"outcome": "published"})
DUPLICATE: Final = (200, {"outcome": "duplicate"})
UNVERIFIED: Final = (401, {"error": "Unverified"})
RULES: Final[dict[str, Callable[[str], bool]]] = {
    "OnResponseCompletedFunction": lambda event_type: event_type == "response.completed",
    "OnBatchFunction": lambda event_type: event_type.startswith("batch."),
    "OnFailureFunction": lambda event_type: event_type.endswith(".failed"),
    "OnCallFunction": lambda event_type: event_type == "realtime.call.incoming",
}
"""The event types that each subscriber of the example gets."""
EVENT_TYPES: Final = {
    "OnResponseCompletedFunction": "response.completed",
    "OnBatchFunction": "batch.completed",
    "OnFailureFunction": "fine_tuning.job.failed",
    "OnCallFunction": "realtime.call.incoming",
}
"""For each subscriber, an event type that no other subscriber gets."""
NO_SUBSCRIBER: Final = "video.completed"
"""An event type that no subscriber gets."""
ATTEMPTS: Final = {"OnCallFunction": 1}
"""How often Lambda invokes a function that fails, if not three times."""

EVERY_PARAMETER: Final = {
    "Alarms": "enabled",
    "Architecture": "arm64",
    "ArchiveRetentionDays": "7",
    "DeduplicationHours": "720",
    "DomainName": "hooks.example.com",
    "EventSource": "mine",
    "GradualDeployment": "true",
    "LogLevel": "DEBUG",
    "LogRetentionDays": "7",
    "MemorySize": "1024",
    "PlatformLogs": "true",
    "SnapStart": "PublishedVersions",
    "SubscriberAccounts": "111122223333,444455556666",
    "ThrottlingBurst": "10",
    "ThrottlingRate": "10",
    "TimestampToleranceSeconds": "60",
    "Tracing": "true",
}
OWN_RESOURCES: Final = {"AlarmTopicArn", "CertificateArn", "HostedZoneId"}
"""Parameters that name resources, which a test creates."""
LATER: Final = {"EventBusName"}
"""Without a bus of its own, the stack has no policy for SubscriberAccounts. The test of updates sets it."""

LINES: Final = ["logs:CreateLogStream", "logs:PutLogEvents"]
"""A statement that ministack does not need, because it writes a function's log itself."""


def wait_until[Found](found: Callable[[], Found], what: str) -> Found:
    """Wait until `found` returns something true. It reads logs, so it is not called all the time."""
    return background.wait_until(found, what, seconds=120, pause=0.3)


class Stacks(NamedTuple):
    """Both stacks, deployed together."""

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

    def handles(self, function: str, delivery: Delivery) -> bool:
        """Return whether a function has handled a delivery's event, once."""
        return self.handled()[function, delivery.event["id"]] == 1

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

    def dead_letters(self, function: str) -> list[Any]:
        """Return the ids of the events in a subscriber's dead-letter queue, and remove the events."""
        sqs = self.subscriber.aws.client("sqs")
        queue = {"QueueUrl": self.subscriber.id_of(function.replace("Function", "DeadLetters"))}
        found = []
        while messages := sqs.receive_message(**queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"])["requestPayload"]["detail"]["id"])
                sqs.delete_message(**queue, ReceiptHandle=message["ReceiptHandle"])
        return found


@pytest.fixture(scope="module")
def aws() -> Iterator[Ministack]:
    with ministack() as aws:
        yield aws


@pytest.fixture(scope="module")
def checkout(aws: Ministack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which the user has run plain `sam build` for both templates."""
    return built_checkout(aws, tmp_path_factory.mktemp("checkout"), "subscriber")


@pytest.fixture(scope="module")
def stacks(aws: Ministack, checkout: Path) -> Stacks:
    """Both stacks at default parameters: the receiver by `make deploy`, the subscriber by `sam deploy`."""
    output = aws.run("make", "deploy", cwd=ROOT, stack_name="openai-webhooks")
    assert f"Account:     {ACCOUNT}" in output[: output.index("Deploying with following values")]
    receiver = Deployed(aws, "openai-webhooks")
    receiver.store(SECRET)
    subscriber = aws.deploy("openai-webhooks-subscriber", checkout / "examples/subscriber")
    return Stacks(receiver, subscriber)


def test_default_stacks_have_declared_resources(stacks: Stacks) -> None:
    assert kinds(stacks.receiver) == declared(RECEIVER.defaults.created)
    assert kinds(stacks.subscriber) == declared(SUBSCRIBER.defaults.created)


def test_default_outputs_name_resources(stacks: Stacks) -> None:
    receiver = stacks.receiver
    secret = receiver.id_of("SigningSecret")
    bus = "arn:aws:events:us-east-1:123456789012:event-bus/openai-webhooks"

    assert receiver.outputs == {
        "WebhookUrl": f"https://{receiver.id_of('Api')}.execute-api.us-east-1.amazonaws.com/webhooks/openai",
        "StoreSecretCommand": (
            f"aws secretsmanager put-secret-value --region us-east-1 --secret-id {secret} --secret-string whsec_..."
        ),
        "SigningSecretArn": secret,
        "EventBusName": "openai-webhooks",
        "EventBusArn": bus,
        "TemplateVersion": version("openai-webhooks-cli"),
    }
    assert receiver.exports == {
        "openai-webhooks-EventBusName": "openai-webhooks",
        "openai-webhooks-EventBusArn": bus,
    }
    assert stacks.subscriber.outputs.keys() == {"FollowLogCommand"}


def test_every_event_type_reaches_matching_subscribers_once(stacks: Stacks) -> None:
    invocations, before = stacks.invocations(), stacks.handled()
    deliveries = [signed(event_type) for event_type in [*CATALOG, "batch.paused", "dream.completed"]]
    assert len(CATALOG) == 34
    expected: Counter[tuple[str, str]] = Counter()
    for delivery in deliveries:
        assert stacks.send(delivery) == PUBLISHED
        functions = [function for function, matches in RULES.items() if matches(delivery.event["type"])]
        if functions:
            expected += Counter((function, delivery.event["id"]) for function in functions)
            # One event after another, so that each function needs only one instance.
            stacks.wait_for(expected)

    assert stacks.handled() - before == expected
    assert stacks.invocations() - invocations == expected.total()
    assert stacks.arrivals(*deliveries) == len(deliveries)


def test_copy_is_duplicate(stacks: Stacks) -> None:
    delivery = signed(NO_SUBSCRIBER)

    assert [stacks.send(delivery) for _ in range(3)] == [PUBLISHED, DUPLICATE, DUPLICATE]
    assert stacks.arrivals(delivery) == 1


def test_forged_and_stale_deliveries_are_rejected(stacks: Stacks) -> None:
    forged = new_delivery(NO_SUBSCRIBER, secret=samples.new_secret())
    stale = new_delivery(NO_SUBSCRIBER, secret=SECRET, age=301)

    arrived = stacks.receiver.log("ArrivalLog")

    assert [stacks.send(forged), stacks.send(stale)] == [UNVERIFIED, UNVERIFIED]
    assert stacks.receiver.log("ArrivalLog") == arrived


def test_every_statement_of_roles_is_tested(stacks: Stacks) -> None:
    receiver = [statement["Action"] for statement in statements(stacks.receiver, "ReceiverRole")]
    records = ["dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem"]
    assert receiver == ["secretsmanager:GetSecretValue", records, "events:PutEvents", LINES]

    iam = stacks.subscriber.aws.client("iam")
    roles = [name for name, (kind, _) in stacks.subscriber.resources.items() if kind == "IAM::Role"]
    assert sorted(roles) == sorted(f"{function}Role" for function in RULES)
    for role in roles:
        attached = iam.list_attached_role_policies(RoleName=stacks.subscriber.id_of(role))["AttachedPolicies"]
        assert {policy["PolicyArn"] for policy in attached} == {
            "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole",  # LINES
            stacks.subscriber.id_of("HandledEventsPolicy"),
        }
        assert [statement["Action"] for statement in statements(stacks.subscriber, role)] == ["sqs:SendMessage"]


def test_receiver_is_not_configured_without_secret(stacks: Stacks) -> None:
    delivery = signed(NO_SUBSCRIBER)

    with denied(stacks.receiver, "ReceiverRole", "secretsmanager:GetSecretValue"):
        stacks.receiver.start_new_instances("ReceiverFunction")  # others have cached the secret
        assert stacks.send(delivery) == (503, {"error": "NotConfigured"})
    [line] = stacks.lines(delivery)
    assert line["reason"].startswith("AccessDeniedException from Secrets Manager")

    stacks.receiver.start_new_instances("ReceiverFunction")
    assert stacks.send(delivery) == PUBLISHED


def test_receiver_publishes_without_deduplication_without_table(stacks: Stacks) -> None:
    delivery = signed(NO_SUBSCRIBER)
    forged = new_delivery(NO_SUBSCRIBER, secret=samples.new_secret())

    with denied(stacks.receiver, "ReceiverRole", "dynamodb:PutItem"):
        assert [stacks.send(delivery), stacks.send(delivery)] == [PUBLISHED, PUBLISHED]
        assert stacks.send(forged) == UNVERIFIED

    counted = [line["DeduplicationUnavailable"] for line in stacks.lines(delivery) if "outcome" in line]
    assert counted == [[1.0], [1.0]]
    assert stacks.arrivals(delivery) == 2


def test_receiver_fails_to_publish_without_bus(stacks: Stacks) -> None:
    delivery = signed(NO_SUBSCRIBER)
    forged = new_delivery(NO_SUBSCRIBER, secret=samples.new_secret())

    with denied(stacks.receiver, "ReceiverRole", "events:PutEvents"):
        assert [stacks.send(delivery), stacks.send(delivery)] == [(503, {"error": "PublishFailed"})] * 2
        assert stacks.send(forged) == UNVERIFIED
    assert all(line["reason"].startswith("AccessDenied") for line in stacks.lines(delivery))
    assert not any("DeduplicationUnavailable" in line for line in stacks.lines(delivery))

    assert stacks.send(delivery) == PUBLISHED
    assert stacks.arrivals(delivery) == 1


@pytest.mark.parametrize("function", RULES)
def test_subscriber_without_table_dead_letters_event(function: str, stacks: Stacks) -> None:
    delivery, invocations = signed(EVENT_TYPES[function]), stacks.invocations()

    with detached(stacks.subscriber, f"{function}Role", "HandledEventsPolicy"):
        assert stacks.send(delivery) == PUBLISHED
        letters = wait_until(lambda: stacks.dead_letters(function), f"a dead letter of {function}")

    assert letters == [delivery.event["id"]]
    assert stacks.invocations() - invocations == ATTEMPTS.get(function, 3)
    assert not stacks.handles(function, delivery)


@pytest.mark.parametrize("function", RULES)
def test_subscriber_without_queue_loses_failed_event(function: str, stacks: Stacks) -> None:
    works, lost = signed(EVENT_TYPES[function]), signed(EVENT_TYPES[function])
    refused = f"{stacks.subscriber.id_of(function)} cannot send a failed event"

    with denied(stacks.subscriber, f"{function}Role", "sqs:SendMessage"):
        assert stacks.send(works) == PUBLISHED
        wait_until(lambda: stacks.handles(function, works), function)
        with detached(stacks.subscriber, f"{function}Role", "HandledEventsPolicy"):
            assert stacks.send(lost) == PUBLISHED
            wait_until(lambda: refused in stacks.subscriber.aws.output.read_text(), refused)

    assert stacks.dead_letters(function) == []


def test_failing_function_does_not_affect_others(stacks: Stacks) -> None:
    delivery, invocations = signed("batch.failed"), stacks.invocations()

    with detached(stacks.subscriber, "OnBatchFunctionRole", "HandledEventsPolicy"):
        assert stacks.send(delivery) == PUBLISHED
        wait_until(lambda: stacks.handles("OnFailureFunction", delivery), "OnFailureFunction")
        letters = wait_until(lambda: stacks.dead_letters("OnBatchFunction"), "a dead letter")

    assert letters == [delivery.event["id"]]
    assert stacks.invocations() - invocations == 3 + 1
    assert stacks.dead_letters("OnFailureFunction") == []


def test_event_with_changed_fields_is_retried_then_dead_lettered(stacks: Stacks) -> None:
    event = samples.sample("response.completed", created_at=1, event_id=samples.new_id("evt_"))
    # The function raises. The receiver publishes the event nevertheless.
    delivery = signed("response.completed", body=samples.encode({**event, "data": {}}))
    invocations = stacks.invocations()

    assert stacks.send(delivery) == PUBLISHED
    letters = wait_until(lambda: stacks.dead_letters("OnResponseCompletedFunction"), "a dead letter")
    assert letters == [event["id"]]
    assert stacks.invocations() - invocations == 3


def test_stacks_with_every_parameter_come_and_go(aws: Ministack, checkout: Path) -> None:
    topic = aws.client("sns").create_topic(Name="ops")["TopicArn"]
    certificate = aws.client("acm").request_certificate(DomainName="hooks.example.com")["CertificateArn"]
    zone = aws.client("route53").create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]
    own = {"AlarmTopicArn": topic, "CertificateArn": certificate, "HostedZoneId": zone.rpartition("/")[2]}
    parameters = EVERY_PARAMETER | own
    assert own.keys() == OWN_RESOURCES
    assert parameters.keys() | LATER == RECEIVER.read()["Parameters"].keys()
    subscriber_parameters = {
        "ReceiverStack": "every-parameter",
        "EventSource": "mine",
        "LogLevel": "DEBUG",
        "LogRetentionDays": "7",
    }
    assert subscriber_parameters.keys() == SUBSCRIBER.read()["Parameters"].keys()
    before = aws.existing()

    receiver = aws.deploy("every-parameter", checkout, **parameters)
    subscriber = aws.deploy("every-subscriber", checkout / "examples/subscriber", **subscriber_parameters)

    of_receiver = RECEIVER.at(**parameters).created
    of_subscriber = SUBSCRIBER.at(**subscriber_parameters).created
    assert kinds(receiver) == declared(of_receiver)
    assert kinds(subscriber) == declared(of_subscriber)
    # ministack has no CodeDeploy. It gives each queue of a policy the policy.
    expected = Counter(kind for kind in [*of_receiver.values(), *of_subscriber.values()] if "CodeDeploy" not in kind)
    expected["SQS::QueuePolicy"] = len(SUBSCRIBER.at().of("SQS::Queue"))
    assert Counter(kind for kind, _ in aws.existing() - before) == expected
    assert receiver.outputs["WebhookUrl"] == "https://hooks.example.com/webhooks/openai"
    assert receiver.exports["every-parameter-EventBusName"] == "every-parameter"

    receiver.store(SECRET)
    stacks = Stacks(receiver, subscriber)
    delivery, stale = signed("batch.failed"), new_delivery("batch.failed", secret=SECRET, age=61)
    assert [stacks.send(delivery), stacks.send(delivery), stacks.send(stale)] == [PUBLISHED, DUPLICATE, UNVERIFIED]
    handled = {(function, delivery.event["id"]): 1 for function in ("OnBatchFunction", "OnFailureFunction")}
    stacks.wait_for(Counter(handled))
    assert (stacks.handled(), stacks.invocations()) == (handled, len(handled))
    assert stacks.arrivals(delivery) == 1

    aws.delete("every-subscriber", checkout / "examples/subscriber")
    aws.delete("every-parameter", checkout)
    assert aws.existing() == before


def test_update_keeps_secret_and_records(aws: Ministack, checkout: Path) -> None:
    aws.client("events").create_event_bus(Name="team")
    changed = {"EventBusName": "team", "DeduplicationHours": "720", "LogLevel": "DEBUG", "ArchiveRetentionDays": "7"}
    receiver = aws.deploy("updated", checkout)
    receiver.store(SECRET)
    kept = {name: receiver.id_of(name) for name in ("Api", "DeliveriesTable", "SigningSecret")}
    before, after = signed("response.completed"), signed("response.completed")
    assert before.post(receiver.url) == PUBLISHED

    aws.deploy("updated", checkout, **changed)

    assert {name: receiver.id_of(name) for name in kept} == kept
    assert kinds(receiver) == declared(RECEIVER.at(**changed).created)
    value = aws.client("secretsmanager").get_secret_value(SecretId=kept["SigningSecret"])["SecretString"]
    assert value == SECRET
    assert [before.post(receiver.url), after.post(receiver.url)] == [DUPLICATE, PUBLISHED]
    assert receiver.exports["updated-EventBusName"] == "team"
    buses = {bus["Name"] for bus in aws.client("events").list_event_buses()["EventBuses"]}
    assert {"team"} == {"team", "updated"} & buses
    assert len(receiver.log("ArrivalLog")) == 2
    live = aws.client("lambda").get_function(FunctionName=receiver.id_of("ReceiverFunction"), Qualifier="live")
    variables = live["Configuration"]["Environment"]["Variables"]
    assert (variables["EVENT_BUS_NAME"], variables["DEDUPLICATION_HOURS"]) == ("team", "720")


def test_failed_deployment_shows_events_of_stack(aws: Ministack, checkout: Path) -> None:
    aws.client("events").create_event_bus(Name="taken")

    with pytest.raises(pytest.fail.Exception, match=r"EventBus CREATE_FAILED: .*already exists"):
        aws.deploy("taken", checkout)


def signed(event_type: str, *, body: bytes | None = None) -> Delivery:
    """Return a new delivery that the library of Standard Webhooks has signed."""
    known = event_type if event_type in CATALOG else "batch.completed"
    delivery = new_delivery(known, secret=SECRET, body=body)
    if event_type != known:
        event = {**delivery.event, "type": event_type}
        delivery = Delivery(event, samples.encode(event), delivery.headers)
    timestamp = datetime.fromtimestamp(int(delivery.headers["webhook-timestamp"]), UTC)
    signature = Webhook(SECRET).sign(delivery.headers["webhook-id"], timestamp, delivery.body.decode())
    return delivery._replace(headers=delivery.headers | {"webhook-signature": signature})


def kinds(stack: Deployed) -> dict[str, str]:
    """Return the types of the stack's resources, by logical id."""
    return declared({name: kind for name, (kind, _) in stack.resources.items()})


def declared(types: dict[str, str]) -> dict[str, str]:
    """Return the types with the hash of the code removed from the logical ids of versions."""
    return {re.sub(r"(?<=Version)[0-9a-f]{10}$", "", name): kind for name, kind in types.items()}


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

    def put(statements: list[dict[str, Any]]) -> None:
        names = {"RoleName": role_name, "PolicyName": policy}
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
