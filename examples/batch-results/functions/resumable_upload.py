"""An S3 object that is written part by part. A later process can continue where an earlier one stopped."""

from typing import Any

from botocore.exceptions import ClientError

from openai_webhooks_subscriber.logs import logger

PART_SIZE = 8 * 2**20
"""Bytes of each part but the last. S3 requires 5 MiB. It allows 10,000 parts, so an object can have 84 GB."""
_SOURCE = "openai-file-id"


class ResumableUpload:
    """An S3 object, or the first parts of it.

    Its state is only in S3: the object, or an unfinished multipart upload. Concurrent runs write the same bytes into
    the same parts, so they need no lock. If one run completes the upload, the other gets NoSuchUpload, and finds the
    object when Lambda retries it.
    """

    def __init__(self, s3: Any, bucket: str, key: str, *, source: str) -> None:
        """Find what is stored. `source` is the id of the file. An object that has another source is replaced.

        Raises the errors of botocore, as all methods do.
        """
        self._s3 = s3
        self._target = {"Bucket": bucket, "Key": key}
        self._source = source
        self._upload_id = ""
        self._parts: list[dict[str, Any]] = []
        self.key = key
        self.size = 0
        """Bytes that are stored."""
        self.is_complete = False
        if not self._find_object():
            self._find_parts()

    def append(self, part: bytes | bytearray) -> None:
        """Store the next part: PART_SIZE bytes, or fewer if it is the last."""
        if not self._upload_id:
            created = self._s3.create_multipart_upload(**self._target, **self._headers, ChecksumAlgorithm="CRC32")
            self._upload_id = created["UploadId"]
        number = len(self._parts) + 1
        stored = self._s3.upload_part(
            **self._target, UploadId=self._upload_id, PartNumber=number, Body=part, ChecksumAlgorithm="CRC32"
        )
        self._parts.append(_completed({"PartNumber": number, **stored}))
        self.size += len(part)

    def finish(self, rest: bytes | bytearray) -> None:
        """Store the rest, which can be empty, and complete the object."""
        if self._parts:
            if rest:
                self.append(rest)
            self._s3.complete_multipart_upload(
                **self._target, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
            )
        else:
            self._s3.put_object(**self._target, **self._headers, Body=rest, ChecksumAlgorithm="CRC32")
            self.size = len(rest)
        self.is_complete = True

    @property
    def _headers(self) -> dict[str, Any]:
        return {"ContentType": "application/x-ndjson", "Metadata": {_SOURCE: self._source}}

    def _find_object(self) -> bool:
        try:
            stored = self._s3.head_object(**self._target)
        except ClientError as error:
            if error.response["Error"]["Code"] == "404":
                return False
            raise
        if stored["Metadata"].get(_SOURCE) != self._source:
            return False
        self.size = stored["ContentLength"]
        self.is_complete = True
        return True

    def _find_parts(self) -> None:
        """Find the parts of the newest unfinished upload. Parts after a gap, or of another size, are written again."""
        listed = self._s3.list_multipart_uploads(Bucket=self._target["Bucket"], Prefix=self.key)
        uploads = [upload for upload in listed.get("Uploads", []) if upload["Key"] == self.key]
        if not uploads:
            return
        self._upload_id = max(uploads, key=lambda upload: upload["Initiated"])["UploadId"]
        pages = self._s3.get_paginator("list_parts").paginate(**self._target, UploadId=self._upload_id)
        found = [part for page in pages for part in page.get("Parts", [])]
        for number, part in enumerate(found, start=1):
            if (part["PartNumber"], part["Size"]) != (number, PART_SIZE):
                break
            self._parts.append(_completed(part))
        self.size = len(self._parts) * PART_SIZE
        logger.info(
            "Copy continues", key=self.key, stored_bytes=self.size, parts_to_write_again=len(found) - len(self._parts)
        )


def _completed(part: dict[str, Any]) -> dict[str, Any]:
    """Return what CompleteMultipartUpload expects of a part. S3 requires the checksums that it was sent."""
    return {name: part[name] for name in ("PartNumber", "ETag", "ChecksumCRC32") if name in part}
