from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given, settings

from evidence.attacks import disagreements
from evidence.attacks.disagreements import (
    BODY,
    KEY,
    LENIENCIES,
    NOW,
    SECRET,
    STRICTNESSES,
    Delivery,
    deliveries,
    outcomes,
    right_signatures,
)
from openai_webhooks import Unverified


@pytest.fixture(autouse=True, scope="module")
def stopped_clock() -> Iterator[None]:
    with disagreements.stopped_clock():
        yield


def test_every_difference_has_a_named_reason() -> None:
    """Every reason and every verdict also occurs often enough for the test to mean something."""
    seen: Counter[str] = Counter()

    @settings(derandomize=True, deadline=None, max_examples=3000)
    @given(deliveries())
    def judge(delivery: Delivery) -> None:
        seen.update(outcomes(delivery))

    judge()
    assert min(seen["accepted"], seen["refused"], seen["the libraries differ"]) > 150
    assert not [name for name in STRICTNESSES if not seen[f"refused by us only: {name}"]]
    assert not [name for name in LENIENCIES if not seen[f"accepted by us only: {name}"]]


[RIGHT] = right_signatures(BODY, "wh_test", [str(NOW)], [KEY])
SIGNED = Delivery(BODY, "wh_test", str(NOW), RIGHT, [SECRET], [RIGHT])
FORGED = replace(SIGNED, signature="v1,forged", right=[])


def refuse(*_: object, **__: object) -> None:
    raise Unverified


def test_accepted_forgery_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcomes(FORGED) == ["refused"]
    monkeypatch.setattr(disagreements, "verify", lambda *_, **__: None)
    with pytest.raises(AssertionError, match="a forgery was accepted"):
        outcomes(FORGED)


def test_difference_without_named_reason_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    assert outcomes(SIGNED) == ["accepted"]
    monkeypatch.setattr(disagreements, "verify", refuse)
    with pytest.raises(AssertionError, match="refused by us only, without a named reason"):
        outcomes(SIGNED)
