"""`sam local start-api`: deliveries over HTTP to the function in its container.

It answers 200 if the function raises, with the error as the body. So every test checks the body.
"""

import subprocess
from collections.abc import Iterator
from typing import Final

import pytest

from cli.tests.support.local_bus import Bus
from cli.tests.support.sam_local import COMMAND, Dev, Sam
from cli.tests.support.signed_delivery import new_delivery
from openai_webhooks_cli import apigw_event, samples
from tests.support.background import wait_until
from tests.support.templates import receiver_environment

PUBLISHED: Final = (200, {"outcome": "published"})
UNVERIFIED: Final = (401, {"error": "Unverified"})
MISMATCH: Final = (401, {"error": "SignatureMismatch"})


@pytest.fixture(scope="module")
def url(sam: Sam) -> Iterator[str]:
    with sam.serve("start-api") as served:
        yield served.url + apigw_event.PATH


def test_delivery_is_published_once(url: str, bus: Bus) -> None:
    delivery = new_delivery("realtime.call.incoming")

    assert delivery.post(url) == PUBLISHED
    (received,) = bus.received(delivery.event["id"])
    assert (received["detail-type"], received["detail"]) == ("realtime.call.incoming", delivery.event)
    assert delivery.post(url) == (200, {"outcome": "duplicate"})
    assert len(bus.received(delivery.event["id"])) == 1


def test_sent_event_appears_in_dev(url: str, dev: Dev) -> None:
    assert send("fine_tuning.job.succeeded", "--url", url).startswith('200 {"outcome": "published"}')
    words = ["on", "the", "bus", "fine_tuning.job.succeeded"]

    def printed() -> bool:
        return any(line.split()[1:5] == words for line in dev.running.text().splitlines())

    wait_until(printed, f"{words} from `openai-webhooks dev`")


@pytest.mark.parametrize("part", ["signature", "timestamp", "body"])
def test_tampered_event_is_rejected(url: str, part: str) -> None:
    assert send("batch.completed", "--url", url, "--tamper", part).startswith('401 {"error": "SignatureMismatch"}')


def test_forgery_is_not_published(url: str, bus: Bus) -> None:
    forged = new_delivery("batch.completed", secret=samples.new_secret())

    assert forged.post(url) == MISMATCH
    assert bus.received(forged.event["id"]) == []


def test_binary_content_type_is_published(url: str, bus: Bus) -> None:
    # `sam local start-api` does not encode the body, as API Gateway would: test_local_invoke.py tests base64.
    delivery = new_delivery("batch.completed")
    delivery.headers["content-type"] = "application/octet-stream"

    assert delivery.post(url) == PUBLISHED
    assert [event["detail"] for event in bus.received(delivery.event["id"])] == [delivery.event]


def test_body_without_event_is_malformed(url: str) -> None:
    assert new_delivery("batch.completed", body=b"[1, 2, 3]").post(url) == (400, {"error": "Malformed"})


def test_stale_delivery_is_not_published(sam: Sam, bus: Bus) -> None:
    # sam-local.env.json accepts old signatures, for the files in events/. This test uses the template's tolerance.
    tolerance = receiver_environment()["TIMESTAMP_TOLERANCE_SECONDS"]
    stale = new_delivery("batch.completed", age=int(tolerance) + 1)
    recent = new_delivery("batch.completed", age=int(tolerance) - 100)

    with sam.serve("start-api", TIMESTAMP_TOLERANCE_SECONDS=tolerance) as served:
        assert stale.post(served.url + apigw_event.PATH) == UNVERIFIED
        assert recent.post(served.url + apigw_event.PATH) == PUBLISHED
    assert [len(bus.received(delivery.event["id"])) for delivery in (stale, recent)] == [0, 1]


def send(*arguments: str) -> str:
    """Return what `openai-webhooks send` prints."""
    command = [COMMAND, "send", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
