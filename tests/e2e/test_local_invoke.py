"""`sam local invoke`, as the README writes it, for every file in events/."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from webhooks import gateway

if TYPE_CHECKING:
    from tests.e2e.conftest import Background, Bus, Delivery, Invoked, Sam

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(path.relative_to(ROOT) for path in ROOT.glob("events/*.json"))
AT_ONCE = 3  # on two cores: each waits for half of its time


@pytest.fixture(scope="module")
def invoked(sam: "Sam", bus: "Bus") -> "dict[Path, Invoked]":
    """What each file came to."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return dict(zip(FILES, threads.map(sam.invoke, FILES), strict=True))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_comes_onto_the_bus(file: Path, invoked: "dict[Path, Invoked]", bus: "Bus") -> None:
    event = json.loads(_read(file)["body"])

    assert _outcome(invoked[file]) == (200, {"outcome": "published"})
    # Once; or again where this machine is so busy that PutEvents takes longer than the receiver waits for it.
    arrived = bus.arrived(event["id"])
    assert arrived
    for on_bus in arrived:
        assert (on_bus["source"], on_bus["detail-type"], on_bus["detail"]) == ("openai.com", file.stem, event)


def test_make_dev_shows_the_events_and_whom_they_reach(
    invoked: "dict[Path, Invoked]", dev: "Background", wait_until: Callable[..., Any]
) -> None:
    for event_type, subscribers in [
        ("response.completed", "OnResponseCompleted"),
        ("batch.failed", "OnBatch, OnFailure"),
        ("video.completed", "no subscriber"),
    ]:
        line = [event_type, "->", *subscribers.split()]
        wait_until(
            lambda line=line: any(shown.split()[-len(line) :] == line for shown in dev.text().splitlines()), line
        )


def test_the_same_file_again_is_a_redelivery(sam: "Sam", bus: "Bus", invoked: "dict[Path, Invoked]") -> None:
    file = Path("events/response.completed.json")
    event_id = json.loads(_read(file)["body"])["id"]
    before = bus.arrived(event_id)

    assert _outcome(sam.invoke(file)) == (200, {"outcome": "duplicate"})
    assert bus.arrived(event_id) == before


def test_a_body_in_base64_is_what_was_signed(
    sam: "Sam", bus: "Bus", new_delivery: "Callable[..., Delivery]", tmp_path: Path
) -> None:
    # As API Gateway passes what it doesn't take for text. `sam local start-api` passes it as text all the same.
    event, body, headers = new_delivery("batch.completed")
    request = gateway.request_event(
        "POST", gateway.PATH, headers | {"content-type": "application/octet-stream"}, body, now=event["created_at"]
    )
    assert request["isBase64Encoded"]
    file = tmp_path / "base64.json"
    file.write_text(json.dumps(request))

    assert _outcome(sam.invoke(file)) == (200, {"outcome": "published"})
    assert {json.dumps(arrived["detail"]) for arrived in bus.arrived(event["id"])} == {json.dumps(event)}


def test_without_make_dev_the_log_says_what_is_missing(sam: "Sam", tmp_path: Path) -> None:
    settings = json.loads((ROOT / "local.json").read_text())
    settings["ReceiverFunction"]["AWS_ENDPOINT_URL"] = "http://host.docker.internal:1"  # where nothing listens
    file = tmp_path / "local.json"
    file.write_text(json.dumps(settings))

    invoked = sam.invoke(Path("events/batch.completed.json"), "--env-vars", file)
    assert _outcome(invoked) == (503, {"error": "NotConfigured"})
    assert "EndpointConnectionError (http://host.docker.internal:1/) from Secrets Manager" in invoked.log


def _read(file: Path) -> Any:
    return json.loads((ROOT / file).read_text())


def _outcome(invoked: "Invoked") -> tuple[int, Any]:
    return invoked.answer["statusCode"], json.loads(invoked.answer["body"])
