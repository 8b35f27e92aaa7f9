"""EventBridge in front of moto, through boto3."""

import json
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest
from aws_lambda_powertools.utilities.parser.models import EventBridgeModel
from botocore.exceptions import ClientError

from openai_webhooks_cli.local.event_bridge import Invocation
from openai_webhooks_cli.local.moto_aws import MotoAws
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION

QUEUE: Final = f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue"
FUNCTION: Final = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:OnBatchFunction"
ENTRY: Final = {"Source": "openai.com", "DetailType": 'a "quoted" type', "Detail": '{"id": "evt_1"}'}


class Bus:
    """The default bus of an embedded AWS, and what its rules invoke."""

    def __init__(self, aws: MotoAws) -> None:
        self.aws = aws
        self.events, self.sqs = aws.client("events"), aws.client("sqs")
        self.url = self.sqs.create_queue(QueueName="queue")["QueueUrl"]
        self.invoked: list[Invocation] = []
        self.problems: list[str] = []
        aws.event_bridge.functions = frozenset({"OnBatchFunction"})
        aws.event_bridge.invoke = self.invoked.append
        aws.event_bridge.on_problem = self.problems.append

    def add_rule(self, name: str, arn: str, pattern: str = '{"source": ["openai.com"]}', **target: Any) -> None:
        self.events.put_rule(Name=name, EventPattern=pattern)
        self.events.put_targets(Rule=name, Targets=[{"Id": "1", "Arn": arn, **target}])

    def put(self, **fields: Any) -> dict[str, Any]:
        [result] = self.events.put_events(Entries=[{**ENTRY, **fields}])["Entries"]
        return result  # type: ignore[no-any-return]

    def received(self) -> list[Any]:
        messages = self.sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in messages]


@pytest.fixture
def bus() -> Iterator[Bus]:
    with closing(MotoAws()) as aws:
        yield Bus(aws)


def test_function_and_queue_get_event_in_full(bus: Bus) -> None:
    bus.add_rule("function", f"{FUNCTION}:live")
    bus.add_rule("queue", QUEUE)
    bus.add_rule("other", QUEUE, '{"source": ["mine"]}')

    result = bus.put(Resources=["openai:endpoint/one"])
    [invocation] = bus.invoked

    assert (invocation.function, invocation.rule) == ("OnBatchFunction", "function")
    assert bus.received() == [invocation.input] == [invocation.event]
    event = EventBridgeModel.model_validate(invocation.input)
    assert (event.id, event.account, event.region) == (result["EventId"], ACCOUNT, REGION)
    assert (event.detail_type, event.detail) == (ENTRY["DetailType"], {"id": "evt_1"})
    assert (event.resources, event.version) == (["openai:endpoint/one"], "0")


def test_disabled_rule_passes_nothing_on(bus: Bus) -> None:
    bus.add_rule("function", FUNCTION)
    bus.events.disable_rule(Name="function")
    bus.put()
    bus.events.enable_rule(Name="function")
    assert bus.invoked == []

    bus.put()
    assert len(bus.invoked) == 1


def test_input_of_target_is_applied(bus: Bus) -> None:
    template = {"InputPathsMap": {"id": "$.detail.id"}, "InputTemplate": '{"got": <id>}'}
    bus.add_rule("function", FUNCTION, InputTransformer=template)
    bus.add_rule("broken", FUNCTION, InputTransformer={"InputTemplate": '{"got": <id>}'})
    bus.add_rule("queue", QUEUE, InputPath="$.detail")
    bus.add_rule("absent", f"{QUEUE}-absent")

    bus.put()

    assert [(invocation.rule, invocation.input) for invocation in bus.invoked] == [("function", {"got": "evt_1"})]
    assert bus.received() == [{"id": "evt_1"}]
    absent, broken = bus.problems
    assert absent.startswith("absent cannot invoke queue-absent (SQS): ")
    assert broken == "broken cannot invoke OnBatch: its InputTransformer makes something that is not JSON"


@pytest.mark.parametrize(
    ("fields", "code"),
    [({"Detail": "[]"}, "MalformedDetail"), ({"Detail": "{"}, "MalformedDetail"), ({"Source": ""}, "InvalidArgument")],
)
def test_wrong_entry_is_refused(bus: Bus, fields: dict[str, str], code: str) -> None:
    assert bus.put(**fields)["ErrorCode"] == code


def test_too_many_entries_and_unknown_bus(bus: Bus) -> None:
    with pytest.raises(ClientError, match="at most 10"):
        bus.events.put_events(Entries=[ENTRY] * 11)

    # AWS accepts it, and loses the event.
    assert "EventId" in bus.put(EventBusName="missing")
    assert "missing" in bus.problems[0]


def test_invalid_pattern_is_refused_with_reason(bus: Bus) -> None:
    with pytest.raises(ClientError, match=r"InvalidEventPattern.* unrecognized operator prefx"):
        bus.add_rule("function", FUNCTION, '{"source": [{"prefx": "a"}]}')


def test_replay_has_its_period_and_rules(bus: Bus) -> None:
    default = bus.events.describe_event_bus()["Arn"]
    archive = bus.events.create_archive(ArchiveName="all", EventSourceArn=default)["ArchiveArn"]
    bus.add_rule("function", FUNCTION)
    bus.add_rule("queue", QUEUE)
    for time in (100, 200, 300):
        bus.put(Time=time)
    assert len(bus.received()) == 3
    bus.invoked.clear()

    bus.events.start_replay(
        ReplayName="mine",
        EventSourceArn=archive,
        EventStartTime=200,
        EventEndTime=300,
        Destination={"Arn": default, "FilterArns": [bus.events.describe_rule(Name="function")["Arn"]]},
    )

    [invocation] = bus.invoked
    assert (invocation.event["time"], invocation.event["replay-name"]) == ("1970-01-01T00:03:20Z", "mine")
    assert bus.received() == []


def test_function_is_invoked_asynchronously_through_lambda(bus: Bus) -> None:
    functions = bus.aws.client("lambda")

    answer = functions.invoke(FunctionName=f"{FUNCTION}:live", InvocationType="Event", Payload='{"a": 1}')

    assert answer["StatusCode"] == 202
    assert [invocation.input for invocation in bus.invoked] == [{"a": 1}]
    with pytest.raises(ClientError, match="InvocationType"):
        functions.invoke(FunctionName=FUNCTION, Payload="{}")


def test_targets_are_named(bus: Bus) -> None:
    arns = (
        FUNCTION,
        f"{FUNCTION}s",
        QUEUE,
        f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:mine:*",
        "arn:aws:sns:r:a:mine",
    )

    assert [bus.aws.event_bridge.name({"Arn": arn}) for arn in arns] == [
        "OnBatch",
        "OnBatchFunctions (lambda, not run here)",
        "queue (SQS)",
        "mine (logs)",
        "mine (sns, not run here)",
    ]
