"""Replays that the process cannot cancel itself."""

import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError

from cli.tests.support.deployed_receiver import DeployedReceiver
from cli.tests.support.event_archive import event_archive
from openai_webhooks_cli.aws.archive import Window, replaying, require_archive
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.shell.stop import Stop

NOW = datetime.now(UTC)
WINDOW = Window(NOW - timedelta(hours=1), NOW)
COMMAND = "aws events cancel-replay --replay-name a-replay --region us-east-1"


@pytest.fixture
def stack(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> Stack:
    event_archive(receiver, monkeypatch)
    return receiver.stack


def test_second_signal_names_replay_and_tap(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    said: list[str] = []
    archive = require_archive(stack)

    with (
        Stop(said.append) as stop,
        stop.unfinished(lambda: "tap"),
        replaying(stack, archive, "a-replay", WINDOW, rule_arns=[], stop=stop),
    ):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    replay, tap = said
    assert COMMAND in replay
    assert tap == "tap"
    assert ended == [128 + signal.SIGINT]


def test_start_without_answer_names_replay(stack: Stack) -> None:
    def time_out(**_: Any) -> None:
        raise ReadTimeoutError(endpoint_url="https://events.us-east-1.amazonaws.com")

    said: list[str] = []
    stack.client("events").meta.events.register("before-call.events.StartReplay", time_out)
    replay = replaying(stack, require_archive(stack), "a-replay", WINDOW, rule_arns=[], stop=Stop(said.append))

    with pytest.raises(ReadTimeoutError), replay:
        pytest.fail("the replay did not start")

    assert COMMAND in said[0]
