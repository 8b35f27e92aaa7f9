"""The copy of a file from OpenAI's answers into the parts of an S3 object."""

import gzip
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import boto3
import httpx2
import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from openai import OpenAI

from openai_file import STOP_BEFORE_TIMEOUT, UnexpectedAnswer, copy_file
from resumable_upload import PART_SIZE, ResumableUpload


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


def test_answer_that_may_be_a_part_is_not_stored() -> None:
    # The end of an answer without a length looks like a connection that breaks.
    for status, reason in {200: "length", 203: "203", 204: "204", 206: "206"}.items():
        with pytest.raises(UnexpectedAnswer, match=reason):
            copied(httpx2.Response(status, stream=httpx2.ByteStream(b"results")))


def test_encoded_file_is_stored_decoded() -> None:
    encoded = gzip.compress(b"results" * 1_000)
    headers = {"content-encoding": "gzip", "content-length": str(len(encoded))}

    assert copied(httpx2.Response(200, headers=headers, stream=httpx2.ByteStream(encoded))) == b"results" * 1_000


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
