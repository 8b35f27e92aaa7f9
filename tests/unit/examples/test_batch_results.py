"""The template that stores batch results: which events it handles, what its function may do, and what is kept."""

import gzip
import json
from typing import Any, Final
from unittest.mock import Mock

import httpx2
import pytest
from botocore.exceptions import ClientError
from moto.events.models import EventPattern
from openai import OpenAI

from openai_file import UnexpectedAnswer, copy_file
from openai_webhooks import CATALOG
from resumable_upload import PART_SIZE, ResumableUpload
from tests.support.templates import EXAMPLES, Stack

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


def refused(status: str) -> ClientError:
    return ClientError({"Error": {"Code": status}}, "HeadObject")


def test_denied_access_is_not_an_absent_object() -> None:
    s3 = Mock()
    s3.head_object.side_effect = refused("403")

    with pytest.raises(ClientError):
        ResumableUpload(s3, "bucket", "key", source="file-1")
    assert not s3.list_multipart_uploads.called


def test_newest_unfinished_upload_of_key_is_continued() -> None:
    s3 = Mock()
    s3.head_object.side_effect = refused("404")
    uploads = [("key", 1), ("key", 3), ("key", 2), ("key-of-another", 4)]
    s3.list_multipart_uploads.return_value = {
        "Uploads": [{"Key": key, "UploadId": f"{key}-{minute}", "Initiated": minute} for key, minute in uploads]
    }
    s3.get_paginator.return_value.paginate.return_value = [
        {"Parts": [{"PartNumber": 1, "Size": PART_SIZE, "ETag": "a", "ChecksumCRC32": "b"}]},
        {"Parts": [{"PartNumber": 2, "Size": PART_SIZE, "ETag": "c"}]},
    ]

    upload = ResumableUpload(s3, "bucket", "key", source="file-1")
    upload.finish(b"")

    assert upload.size == 2 * PART_SIZE
    s3.complete_multipart_upload.assert_called_once_with(
        Bucket="bucket",
        Key="key",
        UploadId="key-3",
        # S3 refuses a list without the checksums that it was sent.
        MultipartUpload={
            "Parts": [{"PartNumber": 1, "ETag": "a", "ChecksumCRC32": "b"}, {"PartNumber": 2, "ETag": "c"}]
        },
    )
