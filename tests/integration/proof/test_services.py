"""proof.services and moto, called alike: what they answer and what they come to hold has to be the same."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from proof import http, services
from webhooks import samples
from webhooks.embedded import Aws
from webhooks.stacks import REGION

TABLE, BUS, SECRET = "DeliveriesTable", "openai-webhooks", "SigningSecret"


class Step(NamedTuple):
    operation: str
    parameters: dict[str, Any]


def claim(*, now: int = 1_000, until: int | None = 2_000_000, **parameters: Any) -> Step:
    """Powertools' conditional PutItem: times in seconds, the end of the claim in milliseconds."""
    item = {"id": {"S": "delivery#1"}, "expiration": {"N": str(now + 3_600)}, "status": {"S": "INPROGRESS"}}
    if until is not None:
        item["in_progress_expiration"] = {"N": str(until)}
    return Step(
        "put_item",
        {
            "TableName": TABLE,
            "Item": item,
            "ConditionExpression": services.CLAIM,
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
            },
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            **parameters,
        },
    )


def record(**parameters: Any) -> Step:
    return Step(
        "update_item",
        {
            "TableName": TABLE,
            "Key": {"id": {"S": "delivery#1"}},
            "UpdateExpression": services.RECORD,
            "ExpressionAttributeNames": {"#expiry": "expiration", "#response_data": "data", "#status": "status"},
            "ExpressionAttributeValues": {
                ":expiry": {"N": "9000"},
                ":response_data": {"S": '"Published"'},
                ":status": {"S": "COMPLETED"},
            },
            **parameters,
        },
    )


def release(**parameters: Any) -> Step:
    return Step("delete_item", {"TableName": TABLE, "Key": {"id": {"S": "delivery#1"}}, **parameters})


def put(*entries: dict[str, Any]) -> Step:
    usual = {"EventBusName": BUS, "Source": "openai.com", "DetailType": "batch.completed", "Detail": "{}"}
    return Step("put_events", {"Entries": [usual | entry for entry in entries]})


def get(stage: str | None = "AWSCURRENT", **parameters: Any) -> Step:
    stages = {"VersionStage": stage} if stage else {}
    return Step("get_secret_value", {"SecretId": SECRET, **stages, **parameters})


def store(value: str, *stages: str) -> Step:
    more = {"VersionStages": list(stages)} if stages else {}
    return Step("put_secret_value", {"SecretId": SECRET, "SecretString": value, **more})


CASES: dict[str, list[Step]] = {
    "a claim": [claim()],
    "a claim on a claimed one": [claim(), claim()],
    "a claim that doesn't ask for the claimed one": [
        claim(),
        claim(ReturnValuesOnConditionCheckFailure="NONE"),
    ],
    "a claim in the last millisecond of another": [claim(until=2_000_000), claim(now=2_000)],
    "a claim after the end of another": [claim(until=1_999_999), claim(now=2_000)],
    "a claim on one that has no end": [claim(until=None), claim(now=4_000)],
    "a claim on one that has no end, in its last second": [claim(until=None), claim(now=4_600)],
    "a claim on one that has no end, once it has expired": [claim(until=None), claim(now=4_601)],
    "a claim on a recorded one": [claim(), record(), claim(now=3_000)],
    "a claim on a recorded one in its last second": [claim(), record(), claim(now=9_000)],
    "a claim on a recorded one that has expired": [claim(), record(), claim(now=9_001)],
    "a claim on a released one": [claim(), release(), claim()],
    "a record without a claim": [record(), claim()],
    "a release without a claim": [release()],
    "no such table": [claim(TableName="nowhere"), record(TableName="nowhere"), release(TableName="nowhere")],
    "an event": [put({})],
    "two events": [put({}, {})],
    "an event with a time": [put({"Time": 1_750_861_210})],
    "too many events": [put(*[{}] * 11)],
    "an event that is not JSON": [put({"Detail": "{"})],
    "one event of two": [put({"Detail": "no"}, {})],
    "the secret": [get()],
    "the secret of no stage": [get(None)],
    "the secret of a stage that isn't there": [get("AWSPENDING")],
    "no such secret": [get(SecretId="nowhere")],
    "a new secret": [store("new"), get(), get("AWSPREVIOUS")],
    "a pending secret": [store("new", "AWSPENDING"), get(), get("AWSPENDING")],
}

type Client = Callable[[str], Any]

SERVICES = {"item": "dynamodb", "events": "events", "value": "secretsmanager"}


def play(client: Client, steps: list[Step]) -> list[Any]:
    """What each step is answered, as far as it is the same in every AWS; then what the table holds."""
    return [_answer(client(SERVICES[step.operation.rpartition("_")[2]]), step) for step in steps]


def _answer(client: Any, step: Step) -> Any:
    try:
        answer = getattr(client, step.operation)(**step.parameters)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response.get("Item")
    entries = [entry.get("ErrorCode", "on the bus") for entry in answer.get("Entries", [])]
    secret = [answer.get("SecretString"), sorted(answer.get("VersionStages", []))]
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer.get("FailedEntryCount"), entries, secret


def at(url: str) -> Client:
    @cache
    def client(service: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=url,
            region_name=REGION,
            aws_access_key_id="caller",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=0.3),
        )

    return client


@pytest.fixture(scope="module")
def moto() -> Iterator[Client]:
    aws = Aws()
    aws.client("events").create_event_bus(Name=BUS)
    yield cache(aws.client)
    aws.close()


@pytest.fixture
def fresh_moto(moto: Client) -> Client:
    """With an empty table and a secret without a past."""
    dynamodb, secretsmanager = moto("dynamodb"), moto("secretsmanager")
    if TABLE in dynamodb.list_tables()["TableNames"]:
        dynamodb.delete_table(TableName=TABLE)
        secretsmanager.delete_secret(SecretId=SECRET, ForceDeleteWithoutRecovery=True)
    dynamodb.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
    )
    secretsmanager.create_secret(Name=SECRET, SecretString=samples.DEVELOPMENT_SECRET)
    return moto


def fresh(middleware: services.Middleware | None = None) -> services.Services:
    more = {"middleware": middleware} if middleware else {}
    return services.Services(secret_id=SECRET, secret=samples.DEVELOPMENT_SECRET, table=TABLE, bus=BUS, **more)


@pytest.mark.parametrize("steps", CASES.values(), ids=CASES)
def test_they_agree(steps: list[Step], fresh_moto: Client) -> None:
    ours = fresh()
    with services.in_thread(ours) as port:
        answers = play(at(f"http://{http.LOOPBACK}:{port}"), steps)
    assert answers == play(fresh_moto, steps)
    assert list(ours.table.items.values()) == fresh_moto("dynamodb").scan(TableName=TABLE)["Items"]


def test_they_agree_on_a_moved_stage(fresh_moto: Client) -> None:
    ours = fresh()
    with services.in_thread(ours) as port:
        answers = [_moved(client("secretsmanager")) for client in (at(f"http://{http.LOOPBACK}:{port}"), fresh_moto)]
    assert answers[0] == answers[1] == ["new", samples.DEVELOPMENT_SECRET]


def _moved(secretsmanager: Any) -> list[str]:
    old = secretsmanager.get_secret_value(SecretId=SECRET, VersionStage="AWSCURRENT")["VersionId"]
    stored = secretsmanager.put_secret_value(SecretId=SECRET, SecretString="new", VersionStages=["AWSPENDING"])
    secretsmanager.update_secret_version_stage(
        SecretId=SECRET, VersionStage="AWSCURRENT", MoveToVersionId=stored["VersionId"], RemoveFromVersionId=old
    )
    return [
        secretsmanager.get_secret_value(SecretId=SECRET, VersionStage=stage)["SecretString"]
        for stage in ("AWSCURRENT", "AWSPREVIOUS")
    ]


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(claim(ConditionExpression="attribute_not_exists(#id)"), id="a condition"),
        pytest.param(record(UpdateExpression="SET #status = :status"), id="an update"),
        pytest.param(release(ConditionExpression="attribute_exists(id)"), id="a parameter"),
        pytest.param(put({"Resources": ["arn"]}), id="a field of an entry"),
    ],
)
def test_what_the_receiver_does_not_send_is_an_error(step: Step) -> None:
    with services.in_thread(fresh()) as port:
        [(code, _)] = play(at(f"http://{http.LOOPBACK}:{port}"), [step])
    assert code == "ValidationException"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (services.Answer.error("ThrottlingException"), "ThrottlingException"),
        (services.Answer.error("InternalFailure", status=500), "InternalFailure"),
        ("reset", "ConnectionClosedError"),
        ("hang", "ReadTimeoutError"),
    ],
)
@pytest.mark.parametrize("takes_effect", [False, True])
def test_a_middleware_decides_what_the_caller_sees(
    answer: services.Answer | services.Break, error: str, *, takes_effect: bool
) -> None:
    calls = []

    def middleware(call: services.Call, serve: services.Serve) -> services.Answer | services.Break:
        calls.append((call.operation, call.caller))
        if takes_effect:
            serve(call)
        return answer

    ours = fresh(middleware)
    with services.in_thread(ours) as port:
        client = at(f"http://{http.LOOPBACK}:{port}")("dynamodb")
        with pytest.raises((ClientError, BotoCoreError)) as raised:
            client.put_item(**claim().parameters)
    seen = raised.value
    assert error == (seen.response["Error"]["Code"] if isinstance(seen, ClientError) else type(seen).__name__)
    assert calls == [("PutItem", "caller")]
    assert len(ours.table.items) == int(takes_effect)
