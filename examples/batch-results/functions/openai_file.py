"""Copy a file from OpenAI into S3, in constant memory."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import httpx2
import openai
from openai import OpenAI

from openai_webhooks_subscriber.logs import logger
from resumable_upload import PART_SIZE, ResumableUpload

STOP_BEFORE_TIMEOUT = 30_000
"""Milliseconds before the function's time-out: enough to wait for OpenAI's next bytes and to store a part."""


class FileGone(Exception):
    """OpenAI does not have the file. The text says why, and what to do."""


class OutOfTime(Exception):
    """The copy stopped before the function's time-out. The text says how much is stored, and what happens next."""


class UnexpectedAnswer(Exception):
    """OpenAI's answer has an unknown place in the file or an unknown length, or fewer bytes than are stored."""


class IncompleteAnswer(Exception):
    """OpenAI's answer ended before the file."""


class _Place(NamedTuple):
    """The place of an answer's bytes in the file."""

    start: int
    file_size: int | None
    """None if OpenAI does not say it."""


def copy_file(client: OpenAI, file_id: str, upload: ResumableUpload, *, remaining_ms: Callable[[], int]) -> None:
    """Copy the bytes of a file that are not stored yet. `remaining_ms` is the time until the function's time-out.

    If the connection breaks, connect again, as long as each connection stores a part. Raises FileGone, OutOfTime,
    UnexpectedAnswer, IncompleteAnswer, and the errors of openai, httpx2 and botocore. Stored parts stay.
    """
    # OpenAI can close the connection before the end of a large file, again and again:
    # https://github.com/openai/openai-python/issues/2959
    while not upload.is_complete:
        size_before = upload.size
        try:
            _copy_rest(client, file_id, upload, remaining_ms)
        except (httpx2.TransportError, IncompleteAnswer) as error:
            if upload.size == size_before:
                raise
            reason = type(error).__name__
            logger.warning("Connection broke, connect again", key=upload.key, stored_bytes=upload.size, reason=reason)
        except openai.NotFoundError:
            raise FileGone(
                f"OpenAI has no file {file_id}, so {upload.key} cannot be stored. OpenAI deletes results after 30 "
                "days. Check whether somebody deleted the file, and whether the API key is of the batch's project. If "
                "the file is gone, delete the event from the dead-letter queue."
            ) from None


def _copy_rest(client: OpenAI, file_id: str, upload: ResumableUpload, remaining_ms: Callable[[], int]) -> None:
    headers = {"Accept-Encoding": "identity"}
    if upload.size:
        # The range begins with the last stored byte. If all bytes are stored, it would be empty without that byte, and
        # servers answer 416 to an empty range.
        headers["Range"] = f"bytes={upload.size - 1}-"
    with client.files.with_streaming_response.content(file_id, extra_headers=headers) as answer:
        place = _place_of(answer.status_code, answer.headers)
        if place.start > upload.size:
            raise UnexpectedAnswer(f"OpenAI's answer starts at byte {place.start}, but {upload.size} bytes are stored.")
        if upload.size and place.start == 0:
            logger.warning("OpenAI ignores the range, read the file again", key=upload.key, stored_bytes=upload.size)
        position, rest = place.start, bytearray()
        for chunk in answer.iter_bytes():
            if remaining_ms() < STOP_BEFORE_TIMEOUT:
                raise OutOfTime(
                    f"Stopped before the time-out: {upload.size} bytes of {upload.key} are stored. Lambda retries the "
                    "event twice and continues there. After that, redrive the dead-letter queue to continue."
                )
            stored = upload.size + len(rest) - position
            rest += chunk[stored:] if stored > 0 else chunk
            position += len(chunk)
            while len(rest) >= PART_SIZE:
                upload.append(rest[:PART_SIZE])
                del rest[:PART_SIZE]
    if position < (place.file_size or 0):
        raise IncompleteAnswer(f"OpenAI's answer ended at byte {position} of {place.file_size}.")
    if position < upload.size:
        raise UnexpectedAnswer(f"OpenAI's file has {position} bytes, but {upload.size} bytes are stored.")
    upload.finish(rest)


def _place_of(status_code: int, headers: Mapping[str, str]) -> _Place:
    """Return the place of an answer's bytes in the file. Raises UnexpectedAnswer."""
    content_range = headers.get("content-range", "")
    is_encoded = headers.get("content-encoding", "identity") != "identity"
    if status_code == 200:
        # OpenAI does not document ranges. Where it ignores them, the answer is the whole file.
        length = headers.get("content-length")
        if not length and "chunked" not in headers.get("transfer-encoding", ""):
            raise UnexpectedAnswer("OpenAI's answer has no length, so nobody would notice if a part were missing.")
        return _Place(0, int(length) if length and not is_encoded else None)
    found = re.fullmatch(r"bytes ([0-9]+)-[0-9]+/([0-9]+)", content_range)
    # The range of an encoded file counts encoded bytes.
    if not found or is_encoded:
        raise UnexpectedAnswer(f"OpenAI answered {status_code} with the content-range {content_range!r}.")
    return _Place(int(found[1]), int(found[2]))
