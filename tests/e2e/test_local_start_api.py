"""`sam local start-api`: deliveries over HTTP to the function in its container.

It answers 200 for a function that raised, with the error in the body, so each body is looked at.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from webhooks import samples

if TYPE_CHECKING:
    from tests.e2e.conftest import Background, Bus, Delivery, Sam

ROOT = Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:{}/webhooks/openai"
PUBLISHED = (200, {"outcome": "published"})
UNVERIFIED = (401, {"error": "Unverified"})


@pytest.fixture(scope="module")
def url(sam: "Sam", dev: "Background") -> Iterator[str]:
    with sam.serve("start-api"):
        yield URL.format(3000)


def test_a_delivery_comes_onto_the_bus_once(url: str, bus: "Bus", new_delivery: "Callable[..., Delivery]") -> None:
    delivery = new_delivery("realtime.call.incoming")

    assert delivery.post(url) == PUBLISHED
    (arrived,) = bus.arrived(delivery.event["id"])
    assert (arrived["detail-type"], arrived["detail"]) == ("realtime.call.incoming", delivery.event)
    assert delivery.post(url) == (200, {"outcome": "duplicate"})
    assert len(bus.arrived(delivery.event["id"])) == 1


def test_the_command_that_sends(url: str, dev: "Background", wait_until: Callable[..., Any]) -> None:
    assert _send("fine_tuning.job.succeeded", "--url", url).startswith('200 {"outcome": "published"}')
    wait_until(lambda: "on the bus         fine_tuning.job.succeeded" in dev.text(), "the event in `make dev`")


@pytest.mark.parametrize("part", ["signature", "timestamp", "body"])
def test_the_command_that_tampers(url: str, part: str) -> None:
    assert _send("batch.completed", "--url", url, "--tamper", part).startswith('401 {"error": "Unverified"}')


def test_a_forgery_does_not_come_onto_the_bus(url: str, bus: "Bus", new_delivery: "Callable[..., Delivery]") -> None:
    forged = new_delivery("batch.completed", secret=samples.new_secret())

    assert forged.post(url) == UNVERIFIED
    assert bus.arrived(forged.event["id"]) == []


def test_a_body_that_is_not_called_text(url: str, bus: "Bus", new_delivery: "Callable[..., Delivery]") -> None:
    # Not in base64, as API Gateway would pass it: test_local_invoke.py has that.
    delivery = new_delivery("batch.completed")
    delivery.headers["content-type"] = "application/octet-stream"

    assert delivery.post(url) == PUBLISHED
    assert [event["detail"] for event in bus.arrived(delivery.event["id"])] == [delivery.event]


def test_a_body_that_is_no_event(url: str, new_delivery: "Callable[..., Delivery]") -> None:
    assert new_delivery("batch.completed", body=b"[1, 2, 3]").post(url) == (400, {"error": "Malformed"})


def test_a_stale_delivery_does_not_come_onto_the_bus(
    sam: "Sam", bus: "Bus", new_delivery: "Callable[..., Delivery]", tmp_path: Path
) -> None:
    # local.json lets the old signatures in events/ pass. These settings are as strict as the template's.
    settings = json.loads((ROOT / "local.json").read_text())
    settings["ReceiverFunction"]["TIMESTAMP_TOLERANCE_SECONDS"] = "300"
    file = tmp_path / "strict.json"
    file.write_text(json.dumps(settings))
    stale, recent = new_delivery("batch.completed", age=301), new_delivery("batch.completed", age=200)

    with sam.serve("start-api", "--env-vars", file, "--port", "3002"):
        assert stale.post(URL.format(3002)) == UNVERIFIED
        assert recent.post(URL.format(3002)) == PUBLISHED
    assert [len(bus.arrived(delivery.event["id"])) for delivery in (stale, recent)] == [0, 1]


def _send(*arguments: str) -> str:
    """What `webhooks send` prints."""
    return subprocess.run(
        [ROOT / ".venv/bin/webhooks", "send", *arguments], capture_output=True, text=True, check=False
    ).stdout
