"""The in-memory AWS and moto, called alike: their answers and their contents must be the same."""

import itertools
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.support.in_memory_aws import CLAIM, RECORD, InMemoryAws
from tests.support.receiver_instance import OTHER_SECRET, SECRET

TABLE, BUS, SECRET_ID = "DeliveriesTable", "openai-webhooks", "SigningSecret"
_NUMBERS = itertools.count()


class Step(NamedTuple):
    service: str
    operation: str
    parameters: dict[str, Any]


def claim(*, now: int = 1_000, until: int | None = 2_000_000, by: str = "", **parameters: Any) -> Step:
    """The receiver's conditional PutItem, by a new invocation unless `by` names one.

    Times are in seconds, the end of the claim is in milliseconds.
    """
    item = {"id": {"S": "delivery#1"}, "expiration": {"N": str(now + 3_600)}, "status": {"S": "INPROGRESS"}}
    item["claimant"] = {"S": by or f"invocation {next(_NUMBERS)}"}
    if until is not None:
        item["in_progress_expiration"] = {"N": str(until)}
    return Step(
        "dynamodb",
        "put_item",
        {
            "TableName": TABLE,
            "Item": item,
            "ConditionExpression": CLAIM,
            "ExpressionAttributeNames": {
                "#id": "id",
                "#expiry": "expiration",
                "#in_progress_expiry": "in_progress_expiration",
                "#status": "status",
            },
            "ExpressionAttributeValues": {
                ":now": {"N": str(now)},
                ":now_in_millis": {"N": str(now * 1000)},
                ":inprogress": {"S": "INPROGRESS"},
                ":claimant": item["claimant"],
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **parameters,
        },
    )


def record(**parameters: Any) -> Step:
    return Step(
        "dynamodb",
        "update_item",
        {
            "TableName": TABLE,
            "Key": {"id": {"S": "delivery#1"}},
            "UpdateExpression": RECORD,
            "ExpressionAttributeNames": {"#expiry": "expiration", "#response_data": "data", "#status": "status"},
            "ExpressionAttributeValues": {
                ":expiry": {"N": "9000"},
                ":response_data": {"S": '"an id"'},
                ":status": {"S": "COMPLETED"},
            },
            **parameters,
        },
    )


def release(**parameters: Any) -> Step:
    return Step("dynamodb", "delete_item", {"TableName": TABLE, "Key": {"id": {"S": "delivery#1"}}, **parameters})


def put(*entries: dict[str, Any]) -> Step:
    usual = {"EventBusName": BUS, "Source": "openai.com", "DetailType": "batch.completed", "Detail": "{}"}
    return Step("events", "put_events", {"Entries": [usual | entry for entry in entries]})


def get(stage: str | None = "AWSCURRENT", **parameters: Any) -> Step:
    stages = {"VersionStage": stage} if stage else {}
    return Step("secretsmanager", "get_secret_value", {"SecretId": SECRET_ID, **stages, **parameters})


CASES: dict[str, list[Step]] = {
    "claim": [claim()],
    "claim a claimed id": [claim(), claim()],
    "claim again by the same invocation": [claim(by="a"), claim(by="a", until=3_000_000)],
    "claim a recorded id by the same invocation": [claim(by="a"), record(), claim(by="a")],
    "claim without asking for the old item": [claim(), claim(ReturnValuesOnConditionCheckFailure="NONE")],
    "claim in the last millisecond of a claim": [claim(until=2_000_000), claim(now=2_000)],
    "claim after the end of a claim": [claim(until=1_999_999), claim(now=2_000)],
    "claim over a claim without an end": [claim(until=None), claim(now=4_000)],
    "claim over a claim without an end, in its last second": [claim(until=None), claim(now=4_600)],
    "claim over a claim without an end, after it expired": [claim(until=None), claim(now=4_601)],
    "claim a recorded id": [claim(), record(), claim(now=3_000)],
    "claim a recorded id in its last second": [claim(), record(), claim(now=9_000)],
    "claim a recorded id after it expired": [claim(), record(), claim(now=9_001)],
    "claim a released id": [claim(), release(), claim()],
    "record without a claim": [record(), claim()],
    "release without a claim": [release()],
    "no table": [claim(TableName="nowhere"), record(TableName="nowhere"), release(TableName="nowhere")],
    "event": [put({})],
    "two events": [put({}, {})],
    "too many events": [put(*[{}] * 11)],
    "event that is not JSON": [put({"Detail": "{"})],
    "one event of two is not JSON": [put({"Detail": "no"}, {})],
    "secret": [get()],
    "secret without a stage": [get(None)],
    "stage without a value": [get("AWSPENDING")],
    "no secret": [get(SecretId="nowhere")],
}


type Clients = Callable[[Any], Any]
"""Returns the client of a service."""


@pytest.fixture(scope="module")
def clients() -> Clients:
    return cache(boto3.Session("testing", "testing", "testing", "us-east-1").client)


@pytest.fixture
def moto(clients: Clients) -> Iterator[Clients]:
    with mock_aws():
        clients("dynamodb").create_table(
            TableName=TABLE,
            BillingMode="PAY_PER_REQUEST",
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        )
        clients("events").create_event_bus(Name=BUS)
        clients("secretsmanager").create_secret(Name=SECRET_ID, SecretString=SECRET)
        yield clients


@pytest.fixture
def in_memory() -> InMemoryAws:
    return InMemoryAws(secret_id=SECRET_ID, secret=SECRET, table=TABLE, bus=BUS)


@pytest.mark.parametrize("case", CASES)
def test_answers_and_items_are_those_of_moto(case: str, moto: Clients, in_memory: InMemoryAws) -> None:
    ours = cache(in_memory.client)
    for step in CASES[case]:
        assert answer(ours(step.service), step) == answer(moto(step.service), step)
    assert list(in_memory.table.items.values()) == moto("dynamodb").scan(TableName=TABLE)["Items"]


@pytest.mark.parametrize("stored", [["AWSCURRENT"], ["AWSPENDING"]])
def test_new_secret_gets_the_stages_of_moto(stored: list[str], moto: Clients, in_memory: InMemoryAws) -> None:
    in_memory.store(OTHER_SECRET, *stored)
    moto("secretsmanager").put_secret_value(SecretId=SECRET_ID, SecretString=OTHER_SECRET, VersionStages=stored)
    ours = in_memory.client("secretsmanager")
    for stage in ("AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"):
        assert answer(ours, get(stage)) == answer(moto("secretsmanager"), get(stage)), stage


@pytest.mark.parametrize(
    "step",
    [
        Step("dynamodb", "put_item", {"TableName": TABLE, "Item": {"id": {"S": "1"}}}),
        claim(ConditionExpression="attribute_not_exists(#id)"),
        claim(ReturnConsumedCapacity="TOTAL"),
        put({"TraceHeader": "Root=1"}),
    ],
    ids=["parameter missing", "unknown expression", "unknown parameter", "unknown field of an entry"],
)
def test_what_the_receiver_does_not_send_is_an_error(step: Step, in_memory: InMemoryAws) -> None:
    code, *_ = answer(in_memory.client(step.service), step)
    assert code == "ValidationException"


def answer(client: Any, step: Step) -> Any:
    """Return what the receiver looks at: the code of an error, or the fields that do not depend on the service."""
    try:
        answered = getattr(client, step.operation)(**step.parameters)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response.get("Item")
    if step.operation == "put_events":
        results = [{"EventId"} if "EventId" in entry else entry["ErrorCode"] for entry in answered["Entries"]]
        return answered["FailedEntryCount"], results
    return answered.get("SecretString"), sorted(answered.get("VersionStages", []))
