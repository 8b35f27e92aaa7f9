"""The calls to AWS by commands that run in this process: a record of them, and failures on purpose."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import boto3
import pytest


class AwsCall(NamedTuple):
    """A call, before it is sent."""

    service: str
    """As IAM names it, except for CloudWatch: `monitoring`."""
    operation: str
    parameters: dict[str, Any]


def record_calls(patch: pytest.MonkeyPatch, on_call: Callable[[AwsCall], None] = lambda _: None) -> list[AwsCall]:
    """Return a list that gets each call from now on. `on_call` is called with each one."""
    calls: list[AwsCall] = []

    def record(model: Any, params: dict[str, Any], **_: Any) -> None:
        calls.append(AwsCall(model.service_model.signing_name, model.name, params))
        on_call(calls[-1])

    _register(patch, "provide-client-params", record)
    return calls


class AwsFaults:
    """Operations that fail, or have no effect, from now on."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.calls = record_calls(patch)
        self._answers: dict[str, tuple[int, dict[str, Any]]] = {}
        _register(patch, "before-call", self._answer)

    def fail(self, operation: str, code: str, message: str = "on purpose") -> None:
        """Let an operation fail with an error code."""
        error = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        self._answers[operation] = 400, error

    def ignore(self, operation: str, answer: dict[str, Any]) -> None:
        """Let an operation have no effect, and answer this."""
        self._answers[operation] = 200, answer

    def recover(self) -> None:
        """Let all operations work again."""
        self._answers.clear()

    def count(self, operation: str) -> int:
        """Return how often an operation was called."""
        return sum(call.operation == operation for call in self.calls)

    def _answer(self, model: Any, **_: Any) -> tuple[Any, dict[str, Any]] | None:
        if model.name not in self._answers:
            return None
        status, answer = self._answers[model.name]
        return SimpleNamespace(status_code=status), answer


def _register(patch: pytest.MonkeyPatch, event: str, handler: Callable[..., Any]) -> None:
    """Register a handler for an event of botocore in all sessions that start from now on."""
    session_class: type[boto3.Session] = boto3.Session

    class HookedSession(session_class):  # type: ignore[misc,valid-type]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.events.register(event, handler)

    patch.setattr(boto3, "Session", HookedSession)
