"""The token in the metadata of a response, and what the workflow learns about the response."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import given, strategies as st
from openai.types.responses import Response

from response_outcome import failure_of, output_of
from task_token import InvalidInput, read_task_token, with_task_token

STACK_ID: Final = "arn:aws:cloudformation:us-east-1:123456789012:stack/wait/6b9f2d10-1c5e-11f0-9f0b-0affc01d5a2b"
KEY: Final = "task_token_6b9f2d10-1c5e-11f0-9f0b-0affc01d5a2b_"
LIMIT: Final = 262_144
"""Bytes of a task's output: https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html"""


@pytest.fixture(autouse=True, scope="module")
def stack_id() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STACK_ID", STACK_ID)
        yield


@given(token=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=2048))
def test_token_returns_from_metadata(token: str) -> None:
    own = {"user": "42"}
    metadata = with_task_token(own, token)

    assert read_task_token(metadata) == token
    assert metadata["user"] == "42"
    assert own == {"user": "42"}  # a retry uses the same input


def test_token_uses_few_keys_of_allowed_length() -> None:
    for length, keys in {1: 1, 512: 1, 513: 2, 1536: 3, 1537: 4, 2048: 4}.items():
        metadata = with_task_token(None, "t" * length)

        assert list(metadata) == [f"{KEY}{number}" for number in range(1, keys + 1)], length
        assert max(map(len, metadata)) <= 64, length
        assert max(map(len, metadata.values())) <= 512, length


def test_metadata_has_room_for_12_keys_and_token() -> None:
    assert len(with_task_token({f"key_{number}": "" for number in range(12)}, "t" * 2048)) == 16
    for metadata in ({f"key_{number}": "" for number in range(13)}, {"task_token_1": "x"}, {"task_token_mine": "x"}):
        with pytest.raises(InvalidInput):
            with_task_token(metadata, "token")


def test_other_metadata_has_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    for metadata in (None, {}, {"user": "42"}, {"task_token": "x"}, {f"{KEY}1": ""}):
        assert read_task_token(metadata) is None, metadata

    of_this_stack = with_task_token(None, "token")
    monkeypatch.setenv("STACK_ID", STACK_ID.replace("6b9f2d10", "7c0a3e21"))
    assert read_task_token(of_this_stack) is None


REASONS: Final[dict[str, dict[str, Any]]] = {
    "ResponseFailed": {"status": "failed", "error": {"code": "server_error", "message": "Try again."}},
    "ResponseIncomplete": {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
    "ResponseCancelled": {"status": "cancelled"},
}
CAUSES: Final = ("server_error: Try again.", "max_output_tokens", "The response was canceled.")


def test_cause_is_openais_reason() -> None:
    assert failure_of(response()) is None
    for (error, fields), cause in zip(REASONS.items(), CAUSES, strict=True):
        assert failure_of(response(**fields)) == (error, cause)

        without_reason = failure_of(response(status=fields["status"], error=None, incomplete_details=None))
        assert without_reason, error
        assert without_reason.error == error
        assert without_reason.cause, error


CHARACTERS: Final = {"1 byte": "x", "2 bytes": "é", "4 bytes": "😀", "escaped": '"', "half of a pair": "\ud83d"}


def test_text_is_left_out_above_limit_of_bytes() -> None:
    rest = len(output_of(response(text="")))
    for case, character in CHARACTERS.items():
        size = len(output_of(response(text=character)).encode()) - rest
        longest = (LIMIT - rest) // size

        fits = output_of(response(text=character * longest))
        too_large = json.loads(output_of(response(text=character * (longest + 1))))

        assert LIMIT - size < len(fits.encode()) <= LIMIT, case
        assert "output_too_large" not in json.loads(fits), case
        assert (too_large["output_text"], too_large["output_too_large"]) == (None, True), case


def response(*, status: str = "completed", text: str = "Hello.", **fields: Any) -> Response:
    """Return a response as the SDK returns it."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}
    return Response.construct(**{"id": "resp_1", "status": status, "output": [message], "usage": None} | fields)
