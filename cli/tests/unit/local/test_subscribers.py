"""Asynchronous invocations that fail."""

import json
import threading
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from openai_webhooks_cli.aws.dead_letters import DeadLetterQueue, read_dead_letter
from openai_webhooks_cli.local import subscribers
from openai_webhooks_cli.local.event_bridge import Invocation
from openai_webhooks_cli.local.function_pool import Function
from openai_webhooks_cli.local.subscribers import Arrival, Subscribers

EVENT: Final = {"id": "1", "detail-type": "batch.failed", "detail": {"id": "evt_1"}}
CODE: Final = "def handler(event, context): raise KeyError('planted')"


def test_failed_event_is_retried_and_then_in_queues(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "app.py").write_text(CODE)
    function = Function("mine-OnBatchFunction", tmp_path, "app.handler", 3, 128, {}, 1, "arn:a:b:c:d:one", "a:two")
    arrivals: list[Arrival] = []
    sent: dict[str, tuple[str, Mapping[str, str]]] = {}
    ended = threading.Event()

    def on_arrival(arrival: Arrival) -> None:
        arrivals.append(arrival)
        if arrival.attempt == 2:
            ended.set()

    monkeypatch.setattr(subscribers, "RETRY_SECONDS", (0.0, 0.0))
    with closing(
        Subscribers(
            [function],
            logs=tmp_path,
            send_message=lambda arn, body, attributes: sent.update({arn: (body, attributes)}),
            before_invoke=lambda _: None,
            on_problem=lambda _: None,
            on_arrival=on_arrival,
        )
    ) as system:
        system.start()
        system.invoke_later(Invocation(function.name, EVENT, EVENT, "mine"))
        system.wait_until_idle()
        assert ended.wait(20)

    steps = [(arrival.attempt, arrival.next_step) for arrival in arrivals]
    assert steps == [(1, "again in 0 s"), (2, "now in one and two")]
    letters = []
    for arn, (body, attributes) in sent.items():
        values = {name: {"StringValue": value} for name, value in attributes.items()}
        queue = DeadLetterQueue(arn, arn, "", (), (f"arn:aws:lambda:r:a:function:{function.name}",), 1)
        letters.append(read_dead_letter({"Body": body, "MessageAttributes": values}, queue, []))
    assert [letter.form for letter in letters] == ["lambda record", "lambda event"]
    assert all(json.loads(letter.payload) == EVENT and "'planted' (app.py:1)" in letter.error for letter in letters)
    assert all("OnBatchFunction" in letter.origin for letter in letters)
