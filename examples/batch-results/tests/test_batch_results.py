"""The template that stores batch results: which events it handles, what its function may do, and what is kept."""

import gzip
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import boto3
import httpx2
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto.events.models import EventPattern
from openai import OpenAI

from examples.tests.support.templates import EXAMPLES
from openai_file import STOP_BEFORE_TIMEOUT, UnexpectedAnswer, copy_file
from openai_webhooks import CATALOG
from resumable_upload import PART_SIZE, ResumableUpload
from tests.support.templates import Stack

TEMPLATE: Final = EXAMPLES["batch-results"]
STACK: Final = TEMPLATE.defaults
HANDLED: Final = {"batch.completed", "batch.expired", "batch.cancelled"}


@pytest.mark.parametrize("event_type", CATALOG)
def test_only_ended_batches_with_results_are_handled(event_type: str) -> None:
    assert matches(STACK, event_type) == (event_type in HANDLED)


def test_own_event_is_not_handled() -> None:
    # Even if a user gives both events one source.
    stack = TEMPLATE.at(ResultsSource="openai.com")

    assert matches(stack, "batch.completed")
    assert not matches(stack, "batch.results.stored")


def test_function_has_least_privilege() -> None:
    bucket = {"Fn::GetAtt": ["ResultsBucket", "Arn"]}
    allowed = {
        action: (statement["Resource"], statement.get("Condition"))
        for policy in STACK.properties("OnBatchEndedFunctionRole")["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
    }

    objects = ({"Fn::Sub": "${ResultsBucket.Arn}/batches/*"}, None)
    assert allowed.keys() == {
        "secretsmanager:GetSecretValue",
        "s3:GetObject",
        "s3:ListMultipartUploadParts",
        "s3:PutObject",
        "s3:ListBucket",
        "s3:ListBucketMultipartUploads",
        "events:PutEvents",
        "sqs:SendMessage",
    }
    assert allowed["s3:GetObject"] == allowed["s3:PutObject"] == allowed["s3:ListMultipartUploadParts"] == objects
    assert allowed["s3:ListBucket"] == allowed["s3:ListBucketMultipartUploads"] == (bucket, None)
    assert allowed["events:PutEvents"] == (
        {"Fn::ImportValue": {"Fn::Sub": "${ReceiverStack}-EventBusArn"}},
        {"StringEquals": {"events:source": {"Ref": "ResultsSource"}}},
    )


@pytest.mark.parametrize("name", ["ResultsBucket", "ResultsBucketPolicy"])
def test_results_outlive_the_stack(name: str) -> None:
    resource = STACK.resources[name]

    assert (resource["DeletionPolicy"], resource["UpdateReplacePolicy"]) == ("Retain", "Retain")


def test_results_are_private_and_encrypted() -> None:
    bucket = STACK.properties("ResultsBucket")
    [encryption] = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    [statement] = STACK.properties("ResultsBucketPolicy")["PolicyDocument"]["Statement"]
    arn = {"Fn::GetAtt": ["ResultsBucket", "Arn"]}

    assert encryption["ServerSideEncryptionByDefault"] == {"SSEAlgorithm": "AES256"}
    assert all(bucket["PublicAccessBlockConfiguration"].values())
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert (statement["Effect"], statement["Principal"], statement["Action"]) == ("Deny", "*", "s3:*")
    assert statement["Resource"] == [arn, {"Fn::Sub": "${ResultsBucket.Arn}/*"}]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


@pytest.mark.parametrize(("days", "expiration"), [("0", []), ("30", ["30"])])
def test_results_expire_only_on_request(days: str, expiration: list[str]) -> None:
    stack = TEMPLATE.at(ResultsRetentionDays=days)
    unfinished, *results = [
        rule
        for rule in stack.value(stack.properties("ResultsBucket")["LifecycleConfiguration"]["Rules"])
        if rule != "AWS::NoValue"
    ]

    assert unfinished["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}
    assert "ExpirationInDays" not in unfinished
    assert [rule["ExpirationInDays"] for rule in results] == expiration


def matches(stack: Stack, event_type: str) -> bool:
    """Return whether the rule passes an event of OpenAI's source to the function."""
    rule = stack.properties("OnBatchEndedFunctionRule")
    event: Any = {"source": "openai.com", "detail-type": event_type, "detail": {"type": event_type}}
    return EventPattern.load(json.dumps(stack.value(rule["EventPattern"]))).matches_event(event)


class Copy:
    """An upload that keeps the bytes."""

    key = "output.jsonl"
    size = 0
    is_complete = False
    stored = b""

    def finish(self, rest: bytearray) -> None:
        self.stored, self.is_complete = bytes(rest), True


def copied(answer: httpx2.Response) -> bytes:
    """Copy the file that OpenAI answers with. Return what is stored."""
    client = OpenAI(api_key="sk-1", http_client=httpx2.Client(transport=httpx2.MockTransport(lambda _: answer)))
    upload: Any = Copy()
    copy_file(client, "file-1", upload, remaining_ms=lambda: 900_000)
    return bytes(upload.stored)


def test_answer_without_length_is_not_stored() -> None:
    """The end of such an answer looks like a connection that breaks."""
    with pytest.raises(UnexpectedAnswer, match="length"):
        copied(httpx2.Response(200, stream=httpx2.ByteStream(b"results")))


def test_encoded_file_is_stored_decoded() -> None:
    encoded = gzip.compress(b"results" * 1_000)
    headers = {"content-encoding": "gzip", "content-length": str(len(encoded))}

    assert copied(httpx2.Response(200, headers=headers, stream=httpx2.ByteStream(encoded))) == b"results" * 1_000


@pytest.mark.parametrize("status", [203, 204, 206])
def test_success_without_whole_file_is_not_stored(status: int) -> None:
    with pytest.raises(UnexpectedAnswer, match=str(status)):
        copied(httpx2.Response(status, content=b"results"))


def test_function_copies_large_files_in_little_memory() -> None:
    function = STACK.properties("OnBatchEndedFunction")

    assert (function["MemorySize"], function["Timeout"]) == (256, 900)


@pytest.fixture
def s3() -> Iterator[Stubber]:
    """S3 as botocore's model describes it. moto, which the other tests use, accepts parts without their checksums."""
    client = boto3.client("s3", "us-east-1", aws_access_key_id="testing", aws_secret_access_key="testing")
    with Stubber(client) as stubbed:
        yield stubbed
        stubbed.assert_no_pending_responses()


TARGET: Final = {"Bucket": "bucket", "Key": "key"}
HEADERS: Final = {"ContentType": "application/x-ndjson", "Metadata": {"openai-file-id": "file-1"}}


def upload_of(s3: Stubber) -> ResumableUpload:
    return ResumableUpload(s3.client, "bucket", "key", source="file-1")


def test_denied_access_is_not_an_absent_object(s3: Stubber) -> None:
    s3.add_client_error("head_object", "403", http_status_code=403)

    with pytest.raises(ClientError):
        upload_of(s3)


def test_newest_unfinished_upload_of_key_is_continued(s3: Stubber) -> None:
    s3.add_client_error("head_object", "404", http_status_code=404)
    uploads = [("key", 1), ("key", 3), ("key", 2), ("key-of-another", 4)]
    listed = [
        {"Key": key, "UploadId": f"{key}-{minute}", "Initiated": datetime(2026, 1, 1, 0, minute, tzinfo=UTC)}
        for key, minute in uploads
    ]
    s3.add_response("list_multipart_uploads", {"Uploads": listed}, {"Bucket": "bucket", "Prefix": "key"})
    page = {"IsTruncated": True, "NextPartNumberMarker": 1}
    first = {"PartNumber": 1, "Size": PART_SIZE, "ETag": "a", "ChecksumCRC32": "b"}
    second = {"PartNumber": 2, "Size": PART_SIZE, "ETag": "c"}
    request = {**TARGET, "UploadId": "key-3"}
    s3.add_response("list_parts", {**page, "Parts": [first]}, request)
    s3.add_response("list_parts", {"Parts": [second]}, {**request, "PartNumberMarker": 1})
    # S3 refuses a list without the checksums that it was sent.
    parts = [{"PartNumber": 1, "ETag": "a", "ChecksumCRC32": "b"}, {"PartNumber": 2, "ETag": "c"}]
    s3.add_response("complete_multipart_upload", {}, {**request, "MultipartUpload": {"Parts": parts}})

    upload = upload_of(s3)
    upload.finish(b"")

    assert upload.size == 2 * PART_SIZE


def test_every_byte_is_sent_with_checksum(s3: Stubber) -> None:
    for _ in range(2):
        s3.add_client_error("head_object", "404", http_status_code=404)
        s3.add_response("list_multipart_uploads", {}, {"Bucket": "bucket", "Prefix": "key"})
    small, large = upload_of(s3), upload_of(s3)
    crc = {"ChecksumAlgorithm": "CRC32"}
    s3.add_response("put_object", {}, {**TARGET, **HEADERS, **crc, "Body": b"small"})
    s3.add_response("create_multipart_upload", {"UploadId": "1"}, {**TARGET, **HEADERS, **crc})
    request = {**TARGET, **crc, "UploadId": "1", "PartNumber": 1, "Body": b"part"}
    s3.add_response("upload_part", {"ETag": "a", "ChecksumCRC32": "b"}, request)

    small.finish(b"small")
    large.append(b"part")


def test_answer_that_stalls_ends_before_the_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("RESULTS_BUCKET_NAME", "OPENAI_API_KEY_SECRET_NAME"):
        monkeypatch.setenv(name, name)
    from store_results import client  # noqa: PLC0415  # the module reads the environment

    seconds: Any = client.timeout
    assert 1_000 * seconds < STOP_BEFORE_TIMEOUT
