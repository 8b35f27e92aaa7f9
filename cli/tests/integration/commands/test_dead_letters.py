"""`openai-webhooks dead-letters`, with a function in moto that has a rule and a dead-letter queue."""

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError
from moto.awslambda_simple.models import LambdaSimpleBackend
from typer.testing import Result

from cli.tests.support.aws_calls import AwsCall, AwsFaults, record_calls
from cli.tests.support.deployed_receiver import DeployedReceiver
from cli.tests.support.failed_subscriber import FUNCTION, HIDDEN, QUEUE, QUEUE_ARN, RULE, Subscriber, envelope
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION

REDRIVE: Final = ("dead-letters", "redrive", "--yes")
OWN_QUEUE_ARN: Final = f"{QUEUE_ARN}-of-function"


def lines(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def list_queues(receiver: DeployedReceiver, *arguments: str) -> dict[str, dict[str, Any]]:
    result = receiver.run("dead-letters", "list", "--json", *arguments)
    assert result.exit_code == 0, result.stderr
    return {queue["name"]: queue for queue in lines(result)}


def redrive(receiver: DeployedReceiver, *arguments: str) -> Result:
    return receiver.run(*REDRIVE, "--json", *arguments)


def summary(**counts: int) -> dict[str, Any]:
    return {"type": "summary", "redriven": 0, "failed": 0, "left": 0, **counts}


def invocations(calls: list[AwsCall]) -> list[dict[str, Any]]:
    return [json.loads(call.parameters["Payload"]) for call in calls if call.operation == "Invoke"]


# ---- list ----


def test_list_shows_queues_with_their_rules_functions_depth_and_age(
    receiver: DeployedReceiver, subscriber: Subscriber
) -> None:
    subscriber.add_letter()
    subscriber.add_rule("of-deleted-function", f"{FUNCTION}-deleted")
    metric = {
        "MetricName": "ApproximateAgeOfOldestMessage",
        "Dimensions": [{"Name": "QueueName", "Value": QUEUE}],
        "Timestamp": datetime.now(UTC) - timedelta(minutes=2),
        "Value": 7384.0,
    }
    receiver.client("cloudwatch").put_metric_data(Namespace="AWS/SQS", MetricData=[metric])

    queues = list_queues(receiver)
    text = receiver.run("dead-letters", "list", f"--rule={RULE}").stdout

    assert (queues[QUEUE]["depth"], queues[QUEUE]["oldest_seconds"]) == (1, 7384)
    assert queues[QUEUE]["rules"] == ["of-deleted-function", RULE]
    assert queues[QUEUE]["functions"] == [FUNCTION, f"{FUNCTION}-deleted"]
    assert queues["OnBatchDeadLetters"]["depth"] == 0
    assert "2 h old" in text
    assert "OnBatchDeadLetters" not in text


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("GetFunctionEventInvokeConfig", {"DestinationConfig": {"OnFailure": {"Destination": OWN_QUEUE_ARN}}}),
        ("GetFunctionConfiguration", {"DeadLetterConfig": {"TargetArn": OWN_QUEUE_ARN}}),
    ],
)
def test_list_finds_queue_of_function(
    receiver: DeployedReceiver, subscriber: Subscriber, faults: AwsFaults, operation: str, answer: Any
) -> None:
    faults.ignore(operation, answer)

    queues = {queue["arn"]: queue for queue in list_queues(receiver).values()}

    assert RULE in queues[OWN_QUEUE_ARN]["rules"]
    assert FUNCTION in queues[OWN_QUEUE_ARN]["functions"]


def test_list_reports_missing_queue(receiver: DeployedReceiver, subscriber: Subscriber) -> None:
    arn = f"arn:aws:sqs:{REGION}:{ACCOUNT}:deleted"
    subscriber.add_rule("of-deleted-queue", FUNCTION, DeadLetterConfig={"Arn": arn})

    result = receiver.run("dead-letters", "list", "--json")

    assert result.exit_code == 0
    [queue] = [queue for queue in lines(result) if queue["name"] == "deleted"]
    assert queue["depth"] is None
    assert "NonExistentQueue" in queue["error"]
    assert arn in result.stderr


@pytest.mark.parametrize(("account", "exit_code"), [("210987654321", 0), (ACCOUNT, 2)], ids=["other", "own"])
def test_denied_queue_is_tolerated_only_in_other_account(
    receiver: DeployedReceiver,
    subscriber: Subscriber,
    monkeypatch: pytest.MonkeyPatch,
    account: str,
    exit_code: int,
) -> None:
    def deny(call: AwsCall) -> None:
        if call.parameters.get("QueueOwnerAWSAccountId") == account:
            raise ClientError({"Error": {"Code": "AccessDenied"}}, call.operation)

    subscriber.add_rule("denied", FUNCTION, DeadLetterConfig={"Arn": f"arn:aws:sqs:{REGION}:{account}:denied"})
    record_calls(monkeypatch, deny)

    result = receiver.run("dead-letters", "list", "--rule=denied")

    assert result.exit_code == exit_code
    assert ("openai-webhooks iam dead-letters list" in result.stderr) == (account == ACCOUNT)


@pytest.mark.parametrize("name", ["list", "show", "redrive"])
def test_unknown_rule_cannot_run(receiver: DeployedReceiver, name: str) -> None:
    result = receiver.run("dead-letters", name, "--rule=unknown")

    assert result.exit_code == 2
    assert "openai-webhooks rules" in result.stderr


# ---- show ----


def test_show_reads_each_form_and_leaves_dead_letters(receiver: DeployedReceiver, subscriber: Subscriber) -> None:
    subscriber.add_rule("other", FUNCTION)
    events = [subscriber.add_letter("other"), subscriber.add_record()]
    subscriber.send("hello")

    shown = lines(receiver.run("dead-letters", "show", "--json"))
    of_rule = lines(receiver.run("dead-letters", "show", "--json", "--rule=other"))

    assert [letter["form"] for letter in shown] == ["eventbridge", "lambda record", "unknown"]
    assert [letter.get("event") for letter in shown] == [*events, None]
    assert [letter["rules"] for letter in of_rule if letter["form"] == "eventbridge"] == [["other"]]
    assert subscriber.waiting() == 3


def test_show_reads_more_than_one_batch_up_to_maximum(receiver: DeployedReceiver, subscriber: Subscriber) -> None:
    ids = [subscriber.add_letter()["detail"]["id"] for _ in range(13)]

    shown, first = (lines(receiver.run("dead-letters", "show", "--json", f"--max={limit}")) for limit in (100, 12))

    assert [letter["event"]["detail"]["id"] for letter in shown] == ids
    assert len(first) == 12
    assert subscriber.waiting() == 13


def test_text_of_dead_letters_does_not_act_on_terminal(receiver: DeployedReceiver, subscriber: Subscriber) -> None:
    hostile = "\x1b]0;owned\x07\u202e\x9b31m"
    subscriber.add_letter(event={**envelope(), "detail-type": hostile, "detail": {"id": hostile}})
    subscriber.send("\u202e", RULE_ARN="\u202e")
    subscriber.add_letter("\u202e", ERROR_MESSAGE="\u202e")

    for arguments in (("dead-letters", "show"), REDRIVE):
        result = receiver.run(*arguments)
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(result.output)


# ---- redrive ----


def test_redrive_sends_events_to_targets_and_deletes_dead_letters(
    receiver: DeployedReceiver, subscriber: Subscriber, calls: list[AwsCall]
) -> None:
    inbox = subscriber.sqs.create_queue(QueueName="inbox")["QueueUrl"]
    subscriber.add_rule("to-queue", f"arn:aws:sqs:{REGION}:{ACCOUNT}:inbox")
    for_function = [subscriber.add_letter(), subscriber.add_record()]
    for_queue = subscriber.add_letter("to-queue")

    result = redrive(receiver)
    [message] = subscriber.sqs.receive_message(QueueUrl=inbox)["Messages"]

    assert result.exit_code == 0
    assert lines(result)[-1] == summary(redriven=3)
    assert invocations(calls) == for_function
    [invocation, _] = [call.parameters for call in calls if call.operation == "Invoke"]
    assert (invocation["FunctionName"], invocation["InvocationType"]) == (FUNCTION, "Event")
    assert json.loads(message["Body"]) == for_queue
    assert subscriber.waiting() == 0


@pytest.mark.parametrize("code", ["TooManyRequestsException", ""])
def test_dead_letter_stays_unless_answer_is_202(
    receiver: DeployedReceiver, subscriber: Subscriber, faults: AwsFaults, code: str
) -> None:
    subscriber.add_record()
    if code:
        faults.fail("Invoke", code)
    else:
        faults.ignore("Invoke", {"StatusCode": 200})

    result = redrive(receiver)

    assert result.exit_code == 1
    assert lines(result)[-1] == summary(failed=1)
    assert code in lines(result)[0]["reason"]
    assert subscriber.waiting() == 1


@pytest.mark.parametrize(
    ("operation", "code"),
    [("Invoke", "AccessDeniedException"), ("Invoke", "ExpiredTokenException"), ("DeleteMessage", "AccessDenied")],
)
def test_error_that_concerns_all_dead_letters_ends_run(
    receiver: DeployedReceiver, subscriber: Subscriber, faults: AwsFaults, operation: str, code: str
) -> None:
    for _ in range(2):
        subscriber.add_record()
    faults.fail(operation, code)

    result = redrive(receiver)

    assert result.exit_code == 2
    assert faults.count("Invoke") == 1
    assert ("iam dead-letters redrive" in result.stderr) == ("Denied" in code)
    assert subscriber.waiting() == 2


def test_dead_letter_stays_if_event_cannot_be_sent_as_rule_would(
    receiver: DeployedReceiver, subscriber: Subscriber, calls: list[AwsCall]
) -> None:
    subscriber.add_rule("log-group", f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:/aws/events/x")
    fifo = f"arn:aws:sqs:{REGION}:{ACCOUNT}:orders.fifo"
    subscriber.add_rule("fifo-queue", fifo, SqsParameters={"MessageGroupId": "1"})
    subscriber.add_rule("input-path", FUNCTION, InputPath="$.detail")
    subscriber.add_rule("input", FUNCTION, Input="{}")
    for rule in ("log-group", "fifo-queue", "input-path", "input"):
        subscriber.add_letter(rule)
    # Anyone who can write to the queue chooses what a message names.
    subscriber.add_record(f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:admin:$LATEST")
    subscriber.add_letter("rule-on-another-bus", TARGET_ARN=FUNCTION)
    subscriber.send("hello")
    subscriber.send(json.dumps(envelope()))

    result = redrive(receiver)

    assert result.exit_code == 1
    assert [letter["result"] for letter in lines(result)[:-1]] == ["left"] * 8
    assert lines(result)[-1] == summary(left=8)
    assert invocations(calls) == []
    assert subscriber.waiting() == 8


@pytest.mark.parametrize(
    ("option", "status"), [("--dry-run", 0), ("--json", 2)], ids=["dry run", "without terminal and --yes"]
)
def test_nothing_is_sent(
    receiver: DeployedReceiver, subscriber: Subscriber, calls: list[AwsCall], option: str, status: int
) -> None:
    subscriber.add_record()

    result = receiver.run("dead-letters", "redrive", "--json", option)

    assert result.exit_code == status
    assert ("--yes" in result.stderr) == (status == 2)
    assert [line.get("result") for line in lines(result)] == ([] if status else ["planned", None])
    assert invocations(calls) == []
    assert subscriber.waiting() == 1


def test_empty_queues_need_no_confirmation(receiver: DeployedReceiver, subscriber: Subscriber) -> None:
    result = receiver.run("dead-letters", "redrive", "--json")

    assert result.exit_code == 0
    assert lines(result) == [summary()]


def test_rule_and_maximum_select_dead_letters(
    receiver: DeployedReceiver, subscriber: Subscriber, calls: list[AwsCall]
) -> None:
    subscriber.add_rule("other", FUNCTION)
    subscriber.add_letter()
    events = [subscriber.add_letter("other") for _ in range(3)]

    result = redrive(receiver, "--rule=other", "--max=2")

    assert lines(result)[-1] == summary(redriven=2)
    assert invocations(calls) == events[:2]
    assert subscriber.waiting() == 2


def test_maximum_counts_only_what_can_be_redriven(receiver: DeployedReceiver, subscriber: Subscriber) -> None:
    subscriber.send("no letter")
    subscriber.add_letter()

    assert lines(redrive(receiver, "--max=1"))[-1] == summary(redriven=1, left=1)


def test_event_that_fails_again_is_not_redriven_in_same_run(
    receiver: DeployedReceiver, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_again(call: AwsCall) -> None:
        if call.operation == "Invoke":
            subscriber.add_record()

    calls = record_calls(monkeypatch, fail_again)
    for _ in range(2):
        subscriber.add_record()

    result = redrive(receiver)

    assert len(invocations(calls)) == 2
    assert lines(result)[-1] == summary(redriven=2)
    assert subscriber.waiting() == 2


def test_dead_letter_received_twice_is_redriven_once(
    receiver: DeployedReceiver, subscriber: Subscriber, faults: AwsFaults
) -> None:
    for _ in range(2):
        subscriber.add_record()
    first, second = subscriber.sqs.receive_message(
        QueueUrl=subscriber.url, MaxNumberOfMessages=2, VisibilityTimeout=0, AttributeNames=["SentTimestamp"]
    )["Messages"]
    faults.ignore("ReceiveMessage", {"Messages": [first, first, second]})

    *letters, counts = lines(redrive(receiver))

    assert [letter["message_id"] for letter in letters] == [first["MessageId"], second["MessageId"]]
    assert counts == summary(redriven=2)


def test_signal_finishes_dead_letter_in_hand(
    receiver: DeployedReceiver, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(call: AwsCall) -> None:
        if call.operation == "Invoke":
            os.kill(os.getpid(), signal.SIGINT)

    record_calls(monkeypatch, interrupt)
    for _ in range(2):
        subscriber.add_record()

    result = redrive(receiver)

    assert result.exit_code == 130
    assert lines(result)[-1] == summary(redriven=1)
    assert subscriber.waiting() == 1


def test_second_signal_loses_nothing(
    receiver: DeployedReceiver, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoked, released = threading.Event(), threading.Event()

    def hang(*_: Any, **__: Any) -> None:
        invoked.set()
        released.wait(30)

    monkeypatch.setattr(LambdaSimpleBackend, "invoke", hang)
    subscriber.add_record()
    with subprocess.Popen(
        [sys.executable, "-c", "from openai_webhooks_cli.entry_point import run; run()", *REDRIVE],
        env={**os.environ, **receiver.environment},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert invoked.wait(30)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        _, messages = process.communicate(timeout=20)
        attributes = subscriber.sqs.get_queue_attributes(QueueUrl=subscriber.url, AttributeNames=["All"])["Attributes"]
    released.set()

    assert process.returncode in (130, 143)
    assert "hidden for 6 minutes" in messages
    assert attributes[HIDDEN] == "1"
