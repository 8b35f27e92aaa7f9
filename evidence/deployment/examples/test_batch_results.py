"""The stack that stores batch results, deployed: a signed delivery in, objects and an event out, in constant memory."""

import hashlib
import json
import random
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from werkzeug import Response

from evidence.deployment.ministack import Deployed, Ministack
from evidence.deployment.stacks import PUBLISHED, signed
from openai_webhooks_cli.local.openai_stand_in import OpenAIStandIn
from tests.support.background import wait_until

MB: Final = 10**6
PART: Final = 8 * 2**20
SOURCE: Final = "openai-webhooks.batch-results"


@pytest.fixture(scope="module")
def stack(deploy_example: Callable[..., Deployed]) -> Deployed:
    return deploy_example("batch-results")


@pytest.fixture(scope="module")
def bucket(stack: Deployed) -> str:
    return stack.outputs["ResultsBucketName"]


@pytest.fixture(scope="module")
def queue(aws: Ministack, receiver: Deployed) -> Iterator[str]:
    """The URL of a queue with the stack's own events, as a user's rule gets them."""
    events, sqs, bus = aws.client("events"), aws.client("sqs"), receiver.exports["openai-webhooks-EventBusName"]
    url: str = sqs.create_queue(QueueName="results-stored")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    pattern = {"source": [SOURCE], "detail-type": ["batch.results.stored"]}
    events.put_rule(EventBusName=bus, Name="results-stored", EventPattern=json.dumps(pattern))
    events.put_targets(EventBusName=bus, Rule="results-stored", Targets=[{"Id": "queue", "Arn": arn}])
    yield url
    events.remove_targets(EventBusName=bus, Rule="results-stored", Ids=["queue"])
    events.delete_rule(EventBusName=bus, Name="results-stored")


@pytest.mark.parametrize(
    ("status", "files"),
    [
        ("completed", {"output": b'{"id": 1}\n', "errors": b'{"id": 2}\n'}),
        ("cancelled", {"output": random.Random(1).randbytes(2 * PART + 1)}),
    ],
    ids=["small files", "large file"],
)
def test_delivery_is_stored_and_announced(
    aws: Ministack,
    receiver: Deployed,
    openai: OpenAIStandIn,
    bucket: str,
    queue: str,
    status: str,
    files: dict[str, bytes],
) -> None:
    batch_id = f"batch_{status}"
    openai.add_batch(batch_id, status=status, output=files.get("output"), errors=files.get("errors"))
    assert signed(f"batch.{status}", id=batch_id).post(receiver.url) == PUBLISHED

    [event] = wait_until(lambda: aws.received(queue), "the stack's event")
    detail = event["detail"]
    keys = {name: detail[f"{name}_key"] for name in files}
    summary = json.loads(content(aws, bucket, detail["summary_key"]))
    assert (event["source"], event["detail-type"]) == (SOURCE, "batch.results.stored")
    assert (detail["batch_id"], detail["status"], detail["bucket"]) == (batch_id, status, bucket)
    assert {name: content(aws, bucket, key) for name, key in keys.items()} == files
    assert {name: file["key"] for name, file in summary["files"].items()} == keys


def test_failed_batch_is_not_handled(
    aws: Ministack, receiver: Deployed, openai: OpenAIStandIn, stack: Deployed, queue: str
) -> None:
    for status in ("failed", "expired"):
        openai.add_batch(f"batch_{status}", status=status, output=None, errors=None)
        assert signed(f"batch.{status}", id=f"batch_{status}").post(receiver.url) == PUBLISHED
    [event] = wait_until(lambda: aws.received(queue), "the stack's event")

    assert event["detail"]["batch_id"] == "batch_expired"
    assert "batch_failed" not in [request.id for request in openai.requests]


def test_event_of_missing_file_reaches_dead_letters(
    aws: Ministack, receiver: Deployed, openai: OpenAIStandIn, stack: Deployed
) -> None:
    openai.add_batch("batch_gone", output=b"", errors=None)
    del openai.files[openai.batches["batch_gone"]["output_file_id"]]
    assert signed("batch.completed", id="batch_gone").post(receiver.url) == PUBLISHED

    queue = stack.id_of("OnBatchEndedDeadLetters")
    [letter] = wait_until(lambda: aws.received(queue), "the dead letter")
    assert letter["requestPayload"]["detail"]["data"] == {"id": "batch_gone"}
    assert "OpenAI has no file" in letter["responsePayload"]["errorMessage"]


def test_copy_whose_upload_is_completed_fails_and_retry_finds_file(
    aws: Ministack,
    receiver: Deployed,
    openai: OpenAIStandIn,
    stack: Deployed,
    bucket: str,
    queue: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # moto answers UploadPart of a completed upload with 500, so this test is not among the integration tests.
    results = random.Random(2).randbytes(2 * PART + 1)
    openai.add_batch("batch_slow", output=results, errors=None)
    other_ended = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield results[: PART + 1]
        other_ended.wait(30)
        yield results[PART + 1 :]

    answers = iter([Response(slowly(), headers={"content-length": str(len(results))})])
    monkeypatch.setattr(
        openai, "on_request", lambda request: next(answers, None) if request.action == "files.content" else None
    )
    assert signed("batch.completed", id="batch_slow").post(receiver.url) == PUBLISHED
    wait_until(lambda: stored_parts(aws, bucket, "batches/batch_slow/output.jsonl"), "the first part")
    assert signed("batch.completed", id="batch_slow").post(receiver.url) == PUBLISHED
    wait_until(lambda: aws.received(queue), "the event of the other copy")
    other_ended.set()

    wait_until(lambda: aws.received(queue), "the event of the retry")
    assert [line for line in stack.log("FunctionsLog") if "NoSuchUpload" in line]
    assert aws.received(stack.id_of("OnBatchEndedDeadLetters")) == []
    assert content(aws, bucket, "batches/batch_slow/output.jsonl") == results


@pytest.mark.skipif(sys.platform != "linux", reason="It reads /proc")
def test_memory_does_not_grow_with_results(
    aws: Ministack, receiver: Deployed, openai: OpenAIStandIn, stack: Deployed, bucket: str, queue: str, tmp_path: Path
) -> None:
    function, peaks = stack.id_of("OnBatchEndedFunction"), {}
    for size in (20 * MB, 200 * MB):
        batch_id, file = f"batch_{size}", tmp_path / "results.jsonl"
        digest = write(file, size)
        openai.add_batch(batch_id, output=file, errors=None)
        assert signed("batch.completed", id=batch_id).post(receiver.url) == PUBLISHED
        wait_until(lambda: aws.received(queue), "the stack's event")
        running = [process for process in psutil.process_iter(["cmdline"]) if function in str(process.info["cmdline"])]
        peaks[size] = max(peak(process.pid) for process in running)
        assert digest_of_object(aws, bucket, f"batches/{batch_id}/output.jsonl") == (size, digest)

    memory = aws.client("lambda").get_function_configuration(FunctionName=function)["MemorySize"]
    assert peaks[200 * MB] < memory * 2**20
    assert peaks[200 * MB] - peaks[20 * MB] < PART


def stored_parts(aws: Ministack, bucket: str, key: str) -> list[Any]:
    """Return the parts of the unfinished uploads of an object."""
    s3 = aws.client("s3")
    uploads = s3.list_multipart_uploads(Bucket=bucket, Prefix=key).get("Uploads", [])
    listed = [s3.list_parts(Bucket=bucket, Key=key, UploadId=upload["UploadId"]) for upload in uploads]
    return [part for parts in listed for part in parts.get("Parts", [])]


def content(aws: Ministack, bucket: str, key: str) -> bytes:
    body: bytes = aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


def write(file: Path, size: int) -> str:
    """Write bytes that do not repeat. Return their SHA-256."""
    digest, source = hashlib.sha256(), random.Random(size)
    with file.open("wb") as output:
        for start in range(0, size, MB):
            block = source.randbytes(min(MB, size - start))
            digest.update(block)
            output.write(block)
    return digest.hexdigest()


def digest_of_object(aws: Ministack, bucket: str, key: str) -> tuple[int, str]:
    """Return the size and the SHA-256 of an object, and delete it."""
    digest, size = hashlib.sha256(), 0
    s3 = aws.client("s3")
    for block in s3.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(MB):
        digest.update(block)
        size += len(block)
    s3.delete_object(Bucket=bucket, Key=key)
    return size, digest.hexdigest()


def peak(pid: int) -> int:
    """Return the most memory that a process has used, in bytes: the resident set, which Lambda's limit counts."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024
