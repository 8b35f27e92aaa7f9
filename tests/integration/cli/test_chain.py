"""The demonstration, and that it would notice what it is there to notice."""

from pathlib import Path

import pytest

from webhooks import demo
from webhooks.chain import Chain, PortTakenError


def test_everything_is_right(chain: Chain, results: list[demo.Result]) -> None:
    assert list(demo.faults(chain, results)) == []
    assert len(results) == 34 + 9


def test_a_wrong_answer_is_a_fault(chain: Chain, results: list[demo.Result]) -> None:
    forged = next(result for result in results if "forged" in result.delivery.label)
    accepted = forged._replace(status=200, outcome="published")

    assert any("200 published, not 401" in fault for fault in demo.faults(chain, [accepted]))


@pytest.mark.parametrize(
    "arrivals",
    [
        pytest.param([], id="missed"),
        pytest.param(["OnBatch"], id="missed one of two"),
        pytest.param(["OnBatch", "OnBatch", "OnFailure"], id="reached twice"),
        pytest.param(["OnBatch", "OnCall", "OnFailure"], id="reached another"),
        pytest.param(["OnBatch", "OnFailure failed (ValueError)"], id="failed"),
    ],
)
def test_a_wrong_arrival_is_a_fault(
    chain: Chain, results: list[demo.Result], monkeypatch: pytest.MonkeyPatch, arrivals: list[str]
) -> None:
    (event,) = (result.delivery.event for result in results if result.delivery.label == "batch.failed")
    monkeypatch.setitem(chain.subscribers._arrivals, event["id"], arrivals)

    (fault,) = demo.faults(chain, results)
    assert fault.startswith("batch.failed: reached")


def test_an_arrival_of_what_was_refused_is_a_fault(
    chain: Chain, results: list[demo.Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    (event,) = (result.delivery.event for result in results if "stale" in result.delivery.label)
    monkeypatch.setitem(chain.subscribers._arrivals, event["id"], ["OnBatch"])

    assert list(demo.faults(chain, results)) == ["batch.completed: reached ['OnBatch'], not []"]


def test_a_taken_port_is_named(chain: Chain, secret: str, tmp_path: Path) -> None:
    port = int(chain.front.url.split(":")[2].split("/")[0])

    with pytest.raises(PortTakenError, match=rf"Port {port} is taken.*--port"):
        Chain(secret=secret, log=tmp_path / "log", port=port)
