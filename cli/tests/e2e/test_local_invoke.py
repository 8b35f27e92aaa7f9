"""`sam local invoke` with every file in events/."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import pytest

from cli.tests.support.local_bus import Bus
from cli.tests.support.sam_local import Dev, Invoked, Sam
from cli.tests.support.signed_delivery import new_delivery
from tests.support.background import wait_until
from tests.support.paths import ROOT

FILES: Final = sorted(path.relative_to(ROOT) for path in ROOT.glob("events/*.json"))
PUBLISHED: Final = (200, {"outcome": "published"})
AT_ONCE: Final = 3  # each invocation waits for half of its time


@pytest.fixture(scope="module")
def invoked(sam: Sam, bus: Bus) -> dict[Path, Invoked]:
    """The output of each file's invocation."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return dict(zip(FILES, threads.map(sam.invoke, FILES), strict=True))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_event_file_is_published(file: Path, invoked: dict[Path, Invoked], bus: Bus) -> None:
    event = event_in(file)

    assert invoked[file].outcome == PUBLISHED
    # On a busy machine, PutEvents can take longer than the receiver waits. Then the receiver calls it again.
    received = bus.received(event["id"])
    assert received
    for on_bus in received:
        assert (on_bus["source"], on_bus["detail-type"], on_bus["detail"]) == ("openai.com", file.stem, event)


@pytest.mark.parametrize(
    ("event_type", "subscribers"),
    [
        # The fixture `bus` has a rule of its own.
        ("batch.completed", "OnBatch, Seen (SQS)"),
        ("batch.failed", "OnBatch, OnFailure, Seen (SQS)"),
        ("video.completed", "Seen (SQS)"),
    ],
)
def test_dev_prints_event_and_subscribers(
    event_type: str, subscribers: str, invoked: dict[Path, Invoked], dev: Dev
) -> None:
    line = [event_type, "->", *subscribers.split()]

    def printed() -> bool:
        return any(text.split()[-len(line) :] == line for text in dev.running.text().splitlines())

    wait_until(printed, f"{line} from `openai-webhooks dev`")


def test_same_file_again_is_duplicate(sam: Sam, bus: Bus, invoked: dict[Path, Invoked]) -> None:
    file = Path("events/response.completed.json")
    event_id = event_in(file)["id"]
    before = bus.received(event_id)

    assert sam.invoke(file).outcome == (200, {"outcome": "duplicate"})
    assert bus.received(event_id) == before


def test_base64_body_is_published(sam: Sam, bus: Bus, tmp_path: Path) -> None:
    # API Gateway encodes bodies whose content type is not text. `sam local start-api` does not.
    delivery = new_delivery("batch.completed")
    delivery.headers["content-type"] = "application/octet-stream"
    request = delivery.request()
    assert request["isBase64Encoded"]
    file = tmp_path / "base64.json"
    file.write_text(json.dumps(request))

    assert sam.invoke(file).outcome == PUBLISHED
    received = bus.received(delivery.event["id"])
    assert received
    assert all(event["detail"] == delivery.event for event in received)


def test_log_names_unreachable_aws(sam: Sam) -> None:
    closed = "http://host.docker.internal:1"

    invoked = sam.invoke(Path("events/batch.completed.json"), AWS_ENDPOINT_URL=closed)
    assert invoked.outcome == (503, {"error": "NotConfigured"})
    assert f"EndpointConnectionError ({closed}/)" in invoked.log


def event_in(file: Path) -> Any:
    return json.loads(json.loads((ROOT / file).read_text())["body"])
