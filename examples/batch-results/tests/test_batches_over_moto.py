"""The function that stores a batch's results, over S3, EventBridge and OpenAI's API: how it fails and continues."""

import json
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from werkzeug import Response

from examples.tests.support.example_functions import aws_client, delivered, started, store_api_key
from openai_webhooks_cli.local.function_pool import FunctionFailed, FunctionPool, Invocation
from openai_webhooks_cli.local.openai_stand_in import OpenAIRequest, OpenAIStandIn, RefusedError
from tests.support.background import wait_until
from tests.support.moto_stack import ACCOUNT, REGION, moto_server

BUCKET: Final = "results"
BUS: Final = "openai-webhooks-EventBusName"  # named like the export
SOURCE: Final = "openai-webhooks.batch-results"
PART: Final = 8 * 2**20
LARGE: Final = secrets.token_bytes(2 * PART + 5)
CANARY: Final = "canary of the payload"
CLOSE: Final = {"connection": "close"}


@dataclass
class Stage:
    """The function's surroundings."""

    aws_url: str
    openai: OpenAIStandIn
    pool: FunctionPool
    logs: Path
    _queue: str
    _arrived: list[dict[str, Any]] = field(default_factory=list)

    @cached_property
    def s3(self) -> Any:
        return aws_client(self.aws_url, "s3")

    def batch(self, *, output: bytes | None = LARGE, errors: bytes | None = None, status: str = "completed") -> str:
        """Add a batch to OpenAI. Return its id."""
        batch_id = f"batch_{secrets.token_hex(8)}"
        self.openai.add_batch(batch_id, status=status, output=output, errors=errors)
        return batch_id

    def end(self, batch_id: str, *, pool: FunctionPool | None = None) -> Invocation:
        """Invoke the function with the event that the batch has ended."""
        return (pool or self.pool).invoke(delivered("batch.completed", id=batch_id))

    def fail(self, batch_id: str, *, pool: FunctionPool | None = None) -> FunctionFailed:
        """Invoke the function, which must fail. Return the failure."""
        with pytest.raises(FunctionFailed) as failed:
            self.end(batch_id, pool=pool)
        return failed.value

    def stored(self, batch_id: str) -> dict[str, bytes]:
        """Return the objects of a batch, by file name."""
        prefix = f"batches/{batch_id}/"
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return {
            item["Key"].removeprefix(prefix): self.s3.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
            for item in listed
        }

    def announced(self, batch_id: str) -> list[dict[str, Any]]:
        """Return the details of the events about a batch on the bus."""
        sqs = aws_client(self.aws_url, "sqs")
        while messages := sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages"):
            self._arrived += [json.loads(message["Body"]) for message in messages]
        events = [event for event in self._arrived if event["detail"]["batch_id"] == batch_id]
        assert {(event["source"], event["detail-type"]) for event in events} <= {(SOURCE, "batch.results.stored")}
        return [event["detail"] for event in events]

    def ranges(self, batch_id: str) -> list[str | None]:
        """Return the Range headers of the requests for the batch's output, in their order."""
        file_id = self.openai.batches[batch_id]["output_file_id"]
        return [request.headers.get("Range") for request in self.openai.requests if request.id == file_id]

    def store_parts(self, batch_id: str, *parts: tuple[int, bytes]) -> None:
        """Leave an unfinished upload of the batch's output: the numbers and the contents of its parts."""
        target = {"Bucket": BUCKET, "Key": f"batches/{batch_id}/output.jsonl"}
        upload_id = self.s3.create_multipart_upload(**target)["UploadId"]
        for number, content in parts:
            self.s3.upload_part(**target, UploadId=upload_id, PartNumber=number, Body=content)

    def unfinished(self, batch_id: str) -> list[int]:
        """Return the numbers of parts of each unfinished upload of the batch's output."""
        key = f"batches/{batch_id}/output.jsonl"
        uploads = self.s3.list_multipart_uploads(Bucket=BUCKET, Prefix=key).get("Uploads", [])
        listed = [self.s3.list_parts(Bucket=BUCKET, Key=key, UploadId=upload["UploadId"]) for upload in uploads]
        return [len(parts.get("Parts", [])) for parts in listed]

    def wait_for_part(self, batch_id: str) -> None:
        wait_until(lambda: self.unfinished(batch_id) == [1], "the first part")

    def changed_pool(self, **changes: Any) -> FunctionPool:
        """Return a pool whose function has other settings."""
        return FunctionPool(self.pool.function._replace(**changes), logs=self.logs)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    logs = tmp_path_factory.mktemp("logs")
    with moto_server() as aws_url, OpenAIStandIn() as openai:
        store_api_key(aws_url)
        aws_client(aws_url, "s3").create_bucket(Bucket=BUCKET)
        queue = _bus_with_queue(aws_url)
        references = {"ResultsBucket": BUCKET}
        options: dict[str, Any] = {"aws_url": aws_url, "openai": openai, "logs": logs, "references": references}
        with started("batch-results", "OnBatchEndedFunction", size=2, **options) as pool:
            yield Stage(aws_url, openai, pool, logs, queue)


def _bus_with_queue(aws_url: str) -> str:
    events, sqs = aws_client(aws_url, "events"), aws_client(aws_url, "sqs")
    queue: str = sqs.create_queue(QueueName="stored", Attributes={"VisibilityTimeout": "43200"})["QueueUrl"]
    events.create_event_bus(Name=BUS)
    events.put_rule(EventBusName=BUS, Name="stored", EventPattern=json.dumps({"account": [ACCOUNT]}))
    target = {"Id": "queue", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:stored"}
    events.put_targets(EventBusName=BUS, Rule="stored", Targets=[target])
    return queue


@pytest.fixture(autouse=True)
def _honest_openai(stage: Stage) -> Iterator[None]:
    yield
    stage.openai.on_request = lambda _: None


def answer_content(*answers: Callable[[], Response] | None) -> Callable[[OpenAIRequest], Response | None]:
    """Return an `on_request` that answers the first requests for a file. The stand-in answers for None and the rest."""
    remaining = iter(answers)

    def answer(request: OpenAIRequest) -> Response | None:
        make = next(remaining, None) if request.action == "files.content" else None
        return make() if make else None

    return answer


def answer_of(body: Any, *, status: int = 200, headers: Mapping[str, object] | None = None) -> Callable[[], Response]:
    """Return a function that makes an answer, which ends its connection."""
    return lambda: Response(body, status, {name: str(value) for name, value in (headers or {}).items()} | CLOSE)


def ranged(body: bytes, start: int, end: int, **headers: str) -> Callable[[], Response]:
    """Return a function that makes an answer with a range of LARGE, as its header says."""
    return answer_of(body, status=206, headers={"content-range": f"bytes {start}-{end - 1}/{len(LARGE)}", **headers})


def broken_after(size: int, *, start: int = 0) -> Callable[[], Response]:
    """Return a function that makes an answer whose connection ends after some bytes of LARGE."""
    length = {"content-length": str(len(LARGE) - start)}
    body = LARGE[start : start + size]
    return ranged(body, start, len(LARGE), **length) if start else answer_of([body], headers=length)


LINE: Final = b'{"id": 1}\n'
ENDS: Final[dict[str, tuple[str, dict[str, bytes]]]] = {
    "both files": ("completed", {"output": LINE, "errors": b'{"id": 2}\n'}),
    "only output": ("completed", {"output": LINE}),
    "only errors": ("expired", {"errors": LINE}),
    "no file": ("cancelled", {}),
    "failed after its event": ("failed", {}),
}
"""The status of a batch, and its files."""


def test_files_of_ended_batch_are_stored_and_announced(stage: Stage) -> None:
    for case, (status, files) in ENDS.items():
        batch_id = stage.batch(status=status, **{"output": None, **files})
        event = delivered(f"batch.{'completed' if status == 'failed' else status}", id=batch_id)
        log = stage.pool.invoke(event).log

        assert all(line["correlation_id"] == event["detail"]["id"] for line in lines(log)), case
        batch, prefix = stage.openai.batches[batch_id], f"batches/{batch_id}"
        keys = {name: f"{prefix}/{name}.jsonl" for name in files}
        ids = {"output": batch["output_file_id"], "errors": batch["error_file_id"]}
        stored = stage.stored(batch_id)
        for name in stored:
            kind = stage.s3.head_object(Bucket=BUCKET, Key=f"{prefix}/{name}")["ContentType"]
            assert kind == ("application/json" if name == "summary.json" else "application/x-ndjson"), case
        counts = {name: batch[name] for name in ("request_counts", "usage")}
        assert json.loads(stored.pop("summary.json")) == {
            **{name: batch[name] for name in ("status", "endpoint", "model", "input_file_id", "created_at")},
            **counts,
            "batch_id": batch_id,
            "metadata": None,
            "files": {
                name: {"key": keys[name], "bytes": len(content), "file_id": ids[name]}
                for name, content in files.items()
            },
        }, case
        assert stored == {f"{name}.jsonl": content for name, content in files.items()}, case
        names = {"batch_id": batch_id, "status": status, "bucket": BUCKET, "summary_key": f"{prefix}/summary.json"}
        announced = names | counts | {f"{name}_key": key for name, key in keys.items()}
        assert stage.announced(batch_id) == [announced], case

    downloads = [request for request in stage.openai.requests if request.action == "files.content"]
    assert {request.headers.get("Accept-Encoding") for request in downloads} == {"identity"}


def test_file_of_any_size_is_stored(stage: Stage) -> None:
    for size in (0, 1, PART - 1, PART, PART + 1, 2 * PART):
        batch_id = stage.batch(output=LARGE[:size])
        stage.end(batch_id)

        assert stage.stored(batch_id)["output.jsonl"] == LARGE[:size], size
        assert stage.unfinished(batch_id) == [], size


def test_event_again_copies_nothing_and_announces_the_same(stage: Stage) -> None:
    batch_id = stage.batch(output=LARGE, errors=b"")
    stage.end(batch_id)
    stored = stage.stored(batch_id)
    stage.end(batch_id)

    first, again = stage.announced(batch_id)
    assert first == again
    assert stage.stored(batch_id) == stored
    assert stage.ranges(batch_id) == [None]


def test_slow_copy_and_concurrent_copy_store_the_file(stage: Stage) -> None:
    content = LARGE[:PART]
    batch_id = stage.batch(output=content)
    other_ended = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield content
        other_ended.wait(30)

    stage.openai.on_request = answer_content(answer_of(slowly()))
    with ThreadPoolExecutor() as threads:
        slow = threads.submit(stage.end, batch_id)
        stage.wait_for_part(batch_id)
        stage.end(batch_id)
        other_ended.set()
        slow.result()

    assert stage.stored(batch_id)["output.jsonl"] == content
    assert stage.ranges(batch_id) == [None, f"bytes={PART - 1}-"]


def test_broken_connection_is_continued_as_long_as_it_stores_parts(stage: Stage) -> None:
    batch_id = stage.batch()
    stage.openai.on_request = answer_content(broken_after(PART + 3), broken_after(9, start=PART - 1))
    failure = stage.fail(batch_id)
    assert [line["stored_bytes"] for line in lines(failure.log) if line["level"] == "WARNING"] == [PART]
    assert (stage.stored(batch_id), stage.announced(batch_id)) == ({}, [])

    # The retry.
    stage.openai.on_request = answer_content(broken_after(PART + 3, start=PART - 1))
    stage.end(batch_id)
    assert stage.stored(batch_id)["output.jsonl"] == LARGE
    first, second = f"bytes={PART - 1}-", f"bytes={2 * PART - 1}-"
    assert stage.ranges(batch_id) == [None, first, first, second]


def test_range_that_ends_early_is_continued(stage: Stage) -> None:
    batch_id = stage.batch()
    stage.store_parts(batch_id, (1, FIRST))
    stage.openai.on_request = answer_content(ranged(LARGE[PART - 1 : 2 * PART], PART - 1, 2 * PART))
    stage.end(batch_id)

    assert stage.stored(batch_id)["output.jsonl"] == LARGE


FIRST, SECOND, REST = LARGE[:PART], LARGE[PART : 2 * PART], LARGE[2 * PART :]
UNFINISHED: Final[dict[str, tuple[bytes, list[tuple[int, bytes]], int | None]]] = {
    "no part": (LARGE, [], None),
    "first part": (LARGE, [(1, FIRST)], PART),
    "all parts": (LARGE, [(1, FIRST), (2, SECOND), (3, REST)], 2 * PART),
    "all parts of full size": (FIRST + SECOND, [(1, FIRST), (2, SECOND)], 2 * PART),
    "gap": (LARGE, [(1, FIRST), (3, REST)], PART),
    "first part is missing": (LARGE, [(2, SECOND)], None),
    "parts of another size": (LARGE, [(1, LARGE[: PART - 1]), (2, LARGE[PART - 1 : 2 * PART - 1])], None),
}
"""A file, the parts of it in an unfinished upload, and the byte where a copy continues."""


def test_unfinished_upload_is_continued(stage: Stage) -> None:
    for case, (content, parts, continued_at) in UNFINISHED.items():
        batch_id = stage.batch(output=content)
        stage.store_parts(batch_id, *parts)
        stage.end(batch_id)

        assert stage.stored(batch_id)["output.jsonl"] == content, case
        assert stage.ranges(batch_id) == [f"bytes={continued_at - 1}-" if continued_at else None], case
        assert stage.unfinished(batch_id) == [], case


def test_small_file_is_stored_despite_empty_upload(stage: Stage) -> None:
    for content in (b"", b"results"):
        batch_id = stage.batch(output=content)
        stage.store_parts(batch_id)
        stage.end(batch_id)

        assert stage.stored(batch_id)["output.jsonl"] == content


def test_ignored_range_is_read_over(stage: Stage) -> None:
    for headers in ({"content-length": len(LARGE)}, {}):  # without it, the answer is chunked
        batch_id = stage.batch()
        stage.store_parts(batch_id, (1, FIRST))
        pieces = [LARGE[start : start + 70_001] for start in range(0, len(LARGE), 70_001)]
        stage.openai.on_request = answer_content(answer_of(iter(pieces), headers=headers))
        log = stage.end(batch_id).log

        assert stage.stored(batch_id)["output.jsonl"] == LARGE, headers
        assert [line["stored_bytes"] for line in lines(log) if line["level"] == "WARNING"] == [PART], headers


UNKNOWN_SIZE: Final = {"content-range": f"bytes {PART}-{len(LARGE) - 1}/*"}
UNEXPECTED: Final = {
    "no content-range": answer_of(LARGE[PART:], status=206),
    "unknown size": answer_of(LARGE[PART:], status=206, headers=UNKNOWN_SIZE),
    "gap": ranged(LARGE[PART + 1 :], PART + 1, len(LARGE)),
    "encoded range": ranged(b"", PART - 1, len(LARGE), **{"content-encoding": "gzip"}),
    "shorter file": answer_of(LARGE[: PART - 1]),
}


def test_unexpected_answer_stores_nothing(stage: Stage) -> None:
    for case, answer in UNEXPECTED.items():
        batch_id = stage.batch()
        stage.store_parts(batch_id, (1, FIRST))
        stage.openai.on_request = answer_content(answer)

        assert str(stage.fail(batch_id)).startswith("UnexpectedAnswer"), case
        assert stage.stored(batch_id) == {}, case
        assert stage.unfinished(batch_id) == [1], case


def test_object_of_other_file_is_replaced(stage: Stage) -> None:
    batch_id = stage.batch(output=b"results")
    key = f"batches/{batch_id}/output.jsonl"
    stage.s3.put_object(Bucket=BUCKET, Key=key, Body=b"other", Metadata={"openai-file-id": "file-other"})
    stage.end(batch_id)

    assert stage.stored(batch_id)["output.jsonl"] == b"results"


def test_copy_stops_before_timeout_and_retry_continues(stage: Stage) -> None:
    batch_id = stage.batch()
    ended = threading.Event()

    def trickle() -> Iterator[bytes]:
        yield LARGE[:PART]
        for position in range(PART, len(LARGE)):
            ended.wait(0.05)
            yield LARGE[position : position + 1]

    stage.openai.on_request = answer_content(answer_of(trickle(), headers={"content-length": len(LARGE)}))
    # One second until the function stops.
    with closing(stage.changed_pool(timeout=31)) as pool:
        failure = stage.fail(batch_id, pool=pool)
    ended.set()
    assert str(failure).startswith("OutOfTime")
    assert f" {PART} bytes " in str(failure)
    assert stage.stored(batch_id) == {}

    stage.end(batch_id)
    assert stage.stored(batch_id)["output.jsonl"] == LARGE
    assert stage.ranges(batch_id) == [None, f"bytes={PART - 1}-"]


def test_killed_copy_is_continued(stage: Stage) -> None:
    batch_id = stage.batch()
    others = psutil.Process().children()
    pool = stage.changed_pool()
    [process] = [child for child in psutil.Process().children() if child not in others]

    def die() -> Iterator[bytes]:
        yield LARGE[: PART + 1]
        stage.wait_for_part(batch_id)
        process.kill()
        yield LARGE[PART + 1 :]

    stage.openai.on_request = answer_content(answer_of(die(), headers={"content-length": len(LARGE)}))
    with closing(pool):
        failure = stage.fail(batch_id, pool=pool)
    assert str(failure).startswith(f"its process ended with {-signal.SIGKILL}")

    stage.end(batch_id)
    assert stage.stored(batch_id)["output.jsonl"] == LARGE
    assert stage.ranges(batch_id) == [None, f"bytes={PART - 1}-"]


def test_refused_event_is_published_by_retry_without_copy(stage: Stage) -> None:
    batch_id = stage.batch()
    environment = {**stage.pool.function.environment, "RESULTS_SOURCE": ""}
    with closing(stage.changed_pool(environment=environment)) as pool:
        failure = stage.fail(batch_id, pool=pool)
    assert str(failure).startswith("EventNotPublished")
    assert stage.announced(batch_id) == []
    assert "summary.json" in stage.stored(batch_id)  # so the event never comes before what it names

    stage.end(batch_id)
    assert len(stage.announced(batch_id)) == 1
    assert stage.ranges(batch_id) == [None]


def refuse(action: str, status: int, request: OpenAIRequest) -> None:
    if request.action == action:
        raise RefusedError(status, CANARY)


def test_refusal_of_openai_fails_and_retry_continues(stage: Stage) -> None:
    for action, status, error in (
        ("batches.retrieve", 401, "AuthenticationError"),
        ("batches.retrieve", 403, "PermissionDeniedError"),
        ("batches.retrieve", 404, "BatchNotFound"),
        ("batches.retrieve", 500, "InternalServerError"),
        ("files.content", 404, "FileGone"),
        ("files.content", 429, "RateLimitError"),
    ):
        batch_id = stage.batch(output=b"results")
        stage.openai.on_request = partial(refuse, action, status)

        failure = stage.fail(batch_id)
        assert str(failure).startswith(error)
        assert CANARY not in str(failure) + "".join(failure.log), error
        assert (stage.stored(batch_id), stage.announced(batch_id)) == ({}, []), error

        stage.openai.on_request = lambda _: None
        stage.end(batch_id)
        assert stage.stored(batch_id)["output.jsonl"] == b"results", error


def test_batch_that_runs_is_retried(stage: Stage) -> None:
    for status in ("validating", "in_progress", "finalizing", "new_status"):
        batch_id = stage.batch(status=status)

        assert str(stage.fail(batch_id)).startswith("BatchNotEnded"), status
        assert (stage.stored(batch_id), stage.announced(batch_id)) == ({}, []), status


def test_event_without_usable_batch_is_refused(stage: Stage) -> None:
    requests = len(stage.openai.requests)
    ids = ["../batch_1", "batch/1", "batch 1", "bätch", "batch_1\n", "", "b" * 129]
    events = [("batch.completed", batch_id) for batch_id in ids]
    for event_type, batch_id in [*events, ("batch.failed", "batch_1"), ("response.completed", "batch_1")]:
        with pytest.raises(FunctionFailed, match="UnexpectedEvent"):
            stage.pool.invoke(delivered(event_type, id=batch_id))
    assert len(stage.openai.requests) == requests


def test_results_and_metadata_are_not_logged(stage: Stage) -> None:
    batch_id = stage.batch(output=CANARY.encode())
    stage.openai.batches[batch_id]["metadata"] = {"customer": [CANARY]}
    log = stage.end(batch_id).log

    summary = json.loads(stage.stored(batch_id)["summary.json"])
    assert summary["metadata"] == {"customer": [CANARY]}
    assert CANARY not in "".join(log)


def lines(log: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log if line.startswith("{")]
