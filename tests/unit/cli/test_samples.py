"""Samples, signed deliveries and the files in events/."""

import time
from pathlib import Path

import pytest
from openai.types.webhooks import RealtimeCallIncomingWebhookEvent as SdkEvent
from standardwebhooks import Webhook

from openai_webhooks import CATALOGUE, parse
from webhooks import samples
from webhooks.gateway import write_events

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("event_type", CATALOGUE)
def test_sample_fits_its_class(event_type: str) -> None:
    event = parse(samples.sample(event_type, created_at=1_750_861_210))

    assert type(event) is CATALOGUE[event_type]
    assert event.drift is None


def test_sample_is_one_to_the_sdk() -> None:
    event = samples.sample("realtime.call.incoming", created_at=1_750_861_210)

    assert SdkEvent.model_validate(event, strict=True).data.sip_headers[0].name == "From"


def test_sample_of_an_unknown_type_has_an_id() -> None:
    assert samples.sample("orchestra.tuned", created_at=1)["data"] == {"id": "obj_abc123"}


def test_signature_is_one_to_standardwebhooks() -> None:
    secret = samples.new_secret()
    body = samples.encode(samples.sample("batch.completed", created_at=1))
    headers = samples.headers(body, secret=secret, timestamp=int(time.time()), webhook_id=samples.new_id("wh_"))

    assert Webhook(secret).verify(body, headers)["type"] == "batch.completed"


def test_events_folder_is_what_the_catalogue_makes(tmp_path: Path) -> None:
    write_events(tmp_path)

    assert _contents(ROOT / "events") == _contents(tmp_path), "run `make events`"


def _contents(folder: Path) -> dict[str, str]:
    return {file.name: file.read_text() for file in folder.iterdir()}
