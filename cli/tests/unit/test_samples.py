"""Samples and signed deliveries."""

import time
from typing import Annotated, Literal

import pytest
from openai.types.webhooks import RealtimeCallIncomingWebhookEvent as SdkEvent
from pydantic import BaseModel, Field
from standardwebhooks import Webhook

from openai_webhooks import CATALOG, parse
from openai_webhooks.models import TypedEvent
from openai_webhooks_cli import samples


def test_samples_fit_their_classes() -> None:
    for event_type, event_class in CATALOG.items():
        event = parse(samples.sample(event_type, created_at=1_750_861_210))

        assert (type(event), event.drift) == (event_class, None)
    call = SdkEvent.model_validate(samples.sample("realtime.call.incoming", created_at=1_750_861_210), strict=True)
    assert call.data.sip_headers[0].name == "From"
    assert samples.sample("orchestra.tuned", created_at=1)["data"] == {"id": "obj_abc123"}


class Player(BaseModel):
    name: str


class Concert(BaseModel):
    id: str
    title: str
    seats: int
    price: float | None
    players: Annotated[list[Player], Field(min_length=1)]
    tags: list[Annotated[str, Field(min_length=1)]]
    status: Literal["planned", "sold_out"]
    outdoors: bool | None = None


class ConcertEvent(TypedEvent):
    type: Literal["concert.planned"]
    data: Concert


class Unsupported(BaseModel):
    seats: set[int]


class UnsupportedEvent(TypedEvent):
    type: Literal["concert.canceled"]
    data: Unsupported


def test_new_field_gets_value_of_its_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "CATALOG", {"planned": ConcertEvent, "canceled": UnsupportedEvent})
    event = samples.sample("planned", created_at=1) | {"type": "concert.planned"}

    assert ConcertEvent.model_validate(event).data.players == [Player(name="name_abc123")]
    with pytest.raises(TypeError, match="field seats"):
        samples.sample("canceled", created_at=1)


def test_standardwebhooks_accepts_signature() -> None:
    secret = samples.new_secret()
    body = samples.encode(samples.sample("batch.completed", created_at=1))
    headers = samples.headers(body, secret=secret, timestamp=int(time.time()), webhook_id=samples.new_id("wh_"))

    assert Webhook(secret).verify(body, headers)["type"] == "batch.completed"
