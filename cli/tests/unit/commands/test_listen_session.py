"""What a session of `listen` shows twice, when it renews its lease, and which event ends a test delivery."""

import json
from types import SimpleNamespace
from typing import Any, cast

import pytest

from openai_webhooks_cli.aws.tap import LEASE, RENEWAL, Received, Tap
from openai_webhooks_cli.commands.forwarding import Forwarder
from openai_webhooks_cli.commands.listen_session import LiveSession, Settings
from openai_webhooks_cli.openai_platform import sample_delivery
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.stop import Stop

NOW = 1_795_000_000.0
REPLAYED = {"replay-name": "x"}


class StubTap:
    """A tap without AWS. It receives each of `batches` once."""

    def __init__(self, *batches: list[Received], lease_end: float = NOW + LEASE) -> None:
        self.stack = SimpleNamespace(now=lambda: NOW)
        self.lease_end = lease_end
        self.renewals = 0
        self.is_complete = True
        self._batches = [*batches]

    def is_probe(self, _: Received) -> bool:
        return False

    def restore(self) -> bool:
        self.renewals += 1
        return self.is_complete

    def receive(self, *, wait: int) -> list[Received]:  # noqa: ARG002
        return self._batches.pop(0)


def session(tap: StubTap) -> LiveSession:
    return LiveSession(cast("Tap", tap), Output(), Settings(Forwarder([], form="unsigned"), None, None, None))


def message(eventbridge_id: str, **fields: Any) -> Received:
    return Received(json.dumps({"id": eventbridge_id, "detail": {"id": "evt_1"}} | fields), NOW, eventbridge_id)


@pytest.mark.parametrize(
    ("second", "is_new"),
    [
        pytest.param(message("a"), False, id="delivered again by SQS"),
        pytest.param(message("b"), True, id="published again"),
        pytest.param(message("b", **{"replay-name": "x"}), False, id="replay of a live event"),
        pytest.param(
            message("b", **{"replay-name": "x", "detail": {"id": "evt_2"}}), True, id="replay of another event"
        ),
    ],
)
def test_event_is_shown_once(second: Received, is_new: bool) -> None:  # noqa: FBT001
    live = session(StubTap())

    assert live._is_new(message("a"))
    assert live._is_new(second) == is_new


@pytest.mark.parametrize(("left", "renewals"), [(LEASE, 0), (LEASE - RENEWAL + 1, 0), (LEASE - RENEWAL, 1), (1, 1)])
def test_lease_is_renewed_in_time(left: float, renewals: int) -> None:
    tap = StubTap(lease_end=NOW + left)

    session(tap)._keep_lease()

    assert tap.renewals == renewals


def test_removed_rule_is_named_as_gap(capsys: pytest.CaptureFixture[str]) -> None:
    tap = StubTap(lease_end=NOW + 1)
    tap.is_complete = False

    session(tap)._keep_lease()

    assert "May have missed events" in capsys.readouterr().err


def test_earlier_event_does_not_end_test_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier, sample = message("a")._replace(sent_at=NOW - 1), message("b")
    monkeypatch.setattr(sample_delivery, "ARRIVAL_TIMEOUT", 60)
    tap = StubTap([earlier], [], [sample], [sample])

    assert sample_delivery._arrives(cast("Tap", tap), since=NOW, stop=Stop(print))
    assert tap.receive(wait=0) == [sample]
