"""`sam deploy` of the receiver and of `subscriber`, unmodified, and what OpenAI and subscribers then get.

ministack emulates AWS: change sets, SAM's transform, the HTTP API, functions, rules that invoke them, and IAM.
docs/guide/proven.md lists what it does not check.
"""

import re
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from cli.tests.support.signed_delivery import new_delivery
from evidence.deployment.ministack import Deployed, Ministack
from evidence.deployment.stacks import (
    DUPLICATE,
    MISMATCH,
    PUBLISHED,
    SECRET,
    UNVERIFIED,
    Stacks,
    denied,
    detached,
    signed,
    statements,
    wait_until,
)
from examples.tests.support.templates import SUBSCRIBER
from openai_webhooks import CATALOG
from openai_webhooks_cli import samples
from tests.support.templates import RECEIVER

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

EVERY_PARAMETER: Final = {
    "Alarms": "enabled",
    "Architecture": "arm64",
    "ArchiveRetentionDays": "7",
    "CreateArrivalLogPolicy": "false",
    "CreateDashboard": "true",
    "DeduplicationHours": "720",
    "DomainName": "hooks.example.com",
    "EventSource": "mine",
    "GradualDeployment": "true",
    "LogLevel": "DEBUG",
    "LogRetentionDays": "7",
    "MemorySize": "1024",
    "PlatformLogs": "true",
    "QuietHours": "24",
    "SnapStart": "PublishedVersions",
    "SubscriberAccounts": "111122223333,444455556666",
    "ThrottlingBurst": "10",
    "ThrottlingRate": "10",
    "TimestampToleranceSeconds": "60",
    "Tracing": "true",
}
"""Without those that name resources, which the fixture creates."""
EVERY_PARAMETER_OF_SUBSCRIBER: Final = {
    "ReceiverStack": "every-parameter",
    "AlarmTopicArn": "arn:aws:sns:us-east-1:000000000000:ops",
    "EventSource": "mine",
    "LogLevel": "DEBUG",
    "LogRetentionDays": "7",
}
LATER: Final = {"AlarmEmail", "EventBusName"}
"""With AlarmEmail, the stack does not use AlarmTopicArn. Without a bus of its own, it has no policy for
SubscriberAccounts. The test of updates sets both.
"""

LINES: Final = ["logs:CreateLogStream", "logs:PutLogEvents"]
"""A statement that ministack does not need, because it writes a function's log itself."""


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
            f"aws secretsmanager put-secret-value --region us-east-1 --secret-id {secret} "
            "--secret-string file:///dev/stdin"
        ),
        "SigningSecretArn": secret,
        "EventBusName": "openai-webhooks",
        "EventBusArn": bus,
        "AlarmsNotify": "nobody. Set the parameter AlarmEmail or AlarmTopicArn",
        "TemplateVersion": version("openai-webhooks"),
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


def test_only_first_authentic_copy_arrives(stacks: Stacks) -> None:
    delivery, arrived = signed(NO_SUBSCRIBER), len(stacks.receiver.log("ArrivalLog"))
    forged = new_delivery(NO_SUBSCRIBER, secret=samples.new_secret())
    stale = new_delivery(NO_SUBSCRIBER, secret=SECRET, age=301)

    answers = [stacks.send(sent) for sent in (delivery, delivery, delivery, forged, stale)]

    assert answers == [PUBLISHED, DUPLICATE, DUPLICATE, MISMATCH, UNVERIFIED]
    assert stacks.arrivals(delivery) == len(stacks.receiver.log("ArrivalLog")) - arrived == 1


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
        assert [stacks.send(sent) for sent in (delivery, delivery, forged)] == [PUBLISHED, PUBLISHED, MISMATCH]

    counted = [line["DeduplicationUnavailable"] for line in stacks.lines(delivery) if "outcome" in line]
    assert counted == [[1.0], [1.0]]
    assert stacks.arrivals(delivery) == 2


def test_receiver_fails_to_publish_without_bus(stacks: Stacks) -> None:
    delivery = signed(NO_SUBSCRIBER)
    forged = new_delivery(NO_SUBSCRIBER, secret=samples.new_secret())
    failed = (503, {"error": "PublishFailed"})

    with denied(stacks.receiver, "ReceiverRole", "events:PutEvents"):
        assert [stacks.send(sent) for sent in (delivery, delivery, forged)] == [failed, failed, MISMATCH]
    assert all(line["reason"].startswith("AccessDenied") for line in stacks.lines(delivery))
    assert not any("DeduplicationUnavailable" in line for line in stacks.lines(delivery))

    assert stacks.send(delivery) == PUBLISHED
    assert stacks.arrivals(delivery) == 1


def test_subscribers_without_table_dead_letter_events(stacks: Stacks) -> None:
    invocations, sent = stacks.invocations(), {name: signed(of) for name, of in EVENT_TYPES.items()}

    with ExitStack() as roles:
        for function in sent:
            roles.enter_context(detached(stacks.subscriber, f"{function}Role", "HandledEventsPolicy"))
        assert [stacks.send(delivery) for delivery in sent.values()] == [PUBLISHED] * len(sent)
        for function, delivery in sent.items():
            letters = wait_until(partial(stacks.dead_letters, function), f"a dead letter of {function}")
            assert letters == [delivery.event["id"]]

    assert stacks.invocations() - invocations == 3 + 3 + 3 + 1  # a call is not retried
    ids = {delivery.event["id"] for delivery in sent.values()}
    assert not [event_id for _, event_id in stacks.handled() if event_id in ids]


def test_subscribers_without_queue_lose_failed_events(stacks: Stacks) -> None:
    works, lost = ({name: signed(of) for name, of in EVENT_TYPES.items()} for _ in range(2))
    refused = [f"{stacks.subscriber.id_of(function)} cannot send a failed event" for function in RULES]

    with ExitStack() as roles:
        for function in RULES:
            roles.enter_context(denied(stacks.subscriber, f"{function}Role", "sqs:SendMessage"))
        assert [stacks.send(delivery) for delivery in works.values()] == [PUBLISHED] * len(works)
        stacks.wait_for(Counter((function, delivery.event["id"]) for function, delivery in works.items()))
        for function in RULES:
            roles.enter_context(detached(stacks.subscriber, f"{function}Role", "HandledEventsPolicy"))
        assert [stacks.send(delivery) for delivery in lost.values()] == [PUBLISHED] * len(lost)
        printed = stacks.subscriber.aws.output
        wait_until(lambda: all(line in printed.read_text() for line in refused), "refused dead letters")

    assert [stacks.dead_letters(function) for function in RULES] == [[]] * len(RULES)


def test_failing_function_does_not_affect_others(stacks: Stacks) -> None:
    delivery, invocations = signed("batch.failed"), stacks.invocations()

    with detached(stacks.subscriber, "OnBatchFunctionRole", "HandledEventsPolicy"):
        assert stacks.send(delivery) == PUBLISHED
        stacks.wait_for(Counter([("OnFailureFunction", delivery.event["id"])]))
        letters = wait_until(lambda: stacks.dead_letters("OnBatchFunction"), "a dead letter")

    assert letters == [delivery.event["id"]]
    assert stacks.invocations() - invocations == 3 + 1
    assert stacks.dead_letters("OnFailureFunction") == []


def test_event_with_changed_fields_is_retried_then_dead_lettered(stacks: Stacks) -> None:
    # The function raises. The receiver publishes the event nevertheless.
    delivery, invocations = signed("response.completed", id=None), stacks.invocations()

    assert stacks.send(delivery) == PUBLISHED
    letters = wait_until(lambda: stacks.dead_letters("OnResponseCompletedFunction"), "a dead letter")
    assert letters == [delivery.event["id"]]
    assert stacks.invocations() - invocations == 3


class Every(NamedTuple):
    """Both stacks, deployed with a value for every parameter."""

    stacks: Stacks
    parameters: dict[str, str]
    before: set[tuple[str, str, str]]
    """What existed before."""


@pytest.fixture(scope="module")
def every(aws: Ministack, checkout: Path) -> Every:
    zone = aws.client("route53").create_hosted_zone(Name="example.com", CallerReference="1")["HostedZone"]["Id"]
    parameters = EVERY_PARAMETER | {
        "AlarmTopicArn": aws.client("sns").create_topic(Name="ops")["TopicArn"],
        "CertificateArn": aws.client("acm").request_certificate(DomainName="hooks.example.com")["CertificateArn"],
        "HostedZoneId": zone.rpartition("/")[2],
    }
    before = aws.existing()
    receiver = aws.deploy("every-parameter", checkout, **parameters)
    subscriber = aws.deploy("every-subscriber", checkout / "examples/subscriber", **EVERY_PARAMETER_OF_SUBSCRIBER)
    receiver.store(SECRET)
    return Every(Stacks(receiver, subscriber), parameters, before)


def test_stacks_deploy_with_every_parameter(every: Every) -> None:
    receiver, subscriber = every.stacks
    assert every.parameters.keys() | LATER == RECEIVER.read()["Parameters"].keys()
    assert EVERY_PARAMETER_OF_SUBSCRIBER.keys() == SUBSCRIBER.read()["Parameters"].keys()

    assert kinds(receiver) == declared(RECEIVER.at(**every.parameters).created)
    assert kinds(subscriber) == declared(SUBSCRIBER.at(**EVERY_PARAMETER_OF_SUBSCRIBER).created)
    assert receiver.outputs["WebhookUrl"] == "https://hooks.example.com/webhooks/openai"
    assert receiver.exports["every-parameter-EventBusName"] == "every-parameter"


def test_services_have_resources_of_every_declared_type(aws: Ministack, every: Every) -> None:
    # An emulator can report a resource as created and skip it.
    absent = ("CodeDeploy::Application", "CodeDeploy::DeploymentGroup", "CloudWatch::InsightRule")
    expected = Counter(kind for stack in every.stacks for kind in kinds(stack).values() if kind not in absent)
    expected["SQS::QueuePolicy"] = expected["SQS::Queue"]  # ministack gives each queue of a policy the policy

    assert Counter(kind for kind, *_ in aws.existing() - every.before) == expected


def test_every_parameter_takes_effect(every: Every) -> None:
    delivery, stale = signed("batch.failed"), new_delivery("batch.failed", secret=SECRET, age=61)

    answers = [every.stacks.send(sent) for sent in (delivery, delivery, stale)]

    assert answers == [PUBLISHED, DUPLICATE, UNVERIFIED]
    handled = {(function, delivery.event["id"]): 1 for function in ("OnBatchFunction", "OnFailureFunction")}
    every.stacks.wait_for(Counter(handled))
    assert (every.stacks.handled(), every.stacks.invocations()) == (handled, len(handled))
    assert every.stacks.arrivals(delivery) == 1


def test_update_keeps_secret_and_records_and_delete_leaves_nothing(
    aws: Ministack, every: Every, checkout: Path
) -> None:
    receiver, before, after = every.stacks.receiver, signed(NO_SUBSCRIBER), signed(NO_SUBSCRIBER)
    kept = {name: receiver.id_of(name) for name in ("Api", "DeliveriesTable", "SigningSecret")}
    changed = every.parameters | {
        "AlarmEmail": "me@example.com",
        "AlarmTopicArn": "",
        "EventBusName": "default",
        "DeduplicationHours": "96",
        "LogLevel": "INFO",
    }
    assert before.post(receiver.url) == PUBLISHED
    aws.delete("every-subscriber", checkout / "examples/subscriber")  # it imports the name of the bus

    aws.deploy("every-parameter", checkout, **changed)

    assert {name: receiver.id_of(name) for name in kept} == kept
    assert kinds(receiver) == declared(RECEIVER.at(**changed).created)
    value = aws.client("secretsmanager").get_secret_value(SecretId=kept["SigningSecret"])["SecretString"]
    assert value == SECRET
    assert [before.post(receiver.url), after.post(receiver.url)] == [DUPLICATE, PUBLISHED]
    assert every.stacks.arrivals(before, after) == 2
    assert receiver.exports["every-parameter-EventBusName"] == "default"
    buses = {bus["Name"] for bus in aws.client("events").list_event_buses()["EventBuses"]}
    assert "every-parameter" not in buses
    live = aws.client("lambda").get_function(FunctionName=receiver.id_of("ReceiverFunction"), Qualifier="live")
    variables = live["Configuration"]["Environment"]["Variables"]
    assert (variables["EVENT_BUS_NAME"], variables["DEDUPLICATION_HOURS"]) == ("default", "96")

    aws.delete("every-parameter", checkout)
    assert aws.existing() == every.before


def kinds(stack: Deployed) -> dict[str, str]:
    """Return the types of the stack's resources, by logical id."""
    return declared({name: kind for name, (kind, _) in stack.resources.items()})


def declared(types: dict[str, str]) -> dict[str, str]:
    """Return the types with the hash of the code removed from the logical ids of versions."""
    return {re.sub(r"(?<=Version)[0-9a-f]{10}$", "", name): kind for name, kind in types.items()}
