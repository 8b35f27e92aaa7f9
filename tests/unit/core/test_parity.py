"""Our classes against openai-python's: same names, types, fields and literals, and each reads what the other writes."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import openai.types.webhooks
import pytest
from openai.types.webhooks import UnwrapWebhookEvent
from openai.types.webhooks.webhook_create_params import WebhookCreateParams
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import openai_webhooks
from openai_webhooks import CATALOGUE, parse


def leaves(annotation: Any) -> Iterator[Any]:
    """What an annotation is made of: `Annotated[Union[A, B], ...]` of A and B, `List[Literal["x"]]` of "x"."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        arguments = arguments[:1]
    if not arguments:
        yield annotation
    for argument in arguments:
        yield from leaves(argument)


def type_of(event: type[BaseModel]) -> str:
    (event_type,) = get_args(event.model_fields["type"].annotation)
    assert isinstance(event_type, str)
    return event_type


# `safety_identifier.blocked` has a class that is not in the union.
EXPORTED = [
    e for name, e in vars(openai.types.webhooks).items() if isinstance(e, type) and name.endswith("WebhookEvent")
]
SDK: dict[str, type[BaseModel]] = {type_of(event): event for event in [*leaves(UnwrapWebhookEvent), *EXPORTED]}
EVERY_SDK_EVENT = [pytest.param(event, id=event_type) for event_type, event in sorted(SDK.items())]


def shape(annotation: Any) -> object:
    """An annotation as plain data to compare, with each model as its fields, recursively."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {
            name: ("required" if field.is_required() else ("default", field.get_default()), shape(field.annotation))
            for name, field in annotation.model_fields.items()
        }
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None:
        return annotation
    if origin is Literal:
        return "Literal", *sorted(arguments)
    # Union[X, Y] and X | Y are two classes in Python 3.13.
    origin = list if origin is list else Union
    return origin, *sorted(map(shape, arguments), key=repr)


Depth = Literal["minimal", "null", "full"]


def sample(annotation: Any, depth: Depth, name: str) -> Any:
    """A value of this type: with optional fields left away, null or filled in."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {
            inner: sample_field(field, depth, f"{name}.{inner}")
            for inner, field in annotation.model_fields.items()
            if field.is_required() or depth != "minimal"
        }
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is str:
        return f"a {name}"
    if annotation is int:
        return 1750287018
    if origin is list:
        return [sample(arguments[0], depth, f"{name}[{i}]") for i in range(2)]
    if origin is Literal:
        return arguments[0]
    return sample(arguments[0], depth, name)  # of a union, the first


def sample_field(field: FieldInfo, depth: Depth, name: str) -> Any:
    return None if depth == "null" and not field.is_required() else sample(field.annotation, depth, name)


def test_no_type_is_missing() -> None:
    """Those that have a class in the SDK, and those that its endpoint API can subscribe to."""
    subscribable = leaves(get_type_hints(WebhookCreateParams)["event_types"])
    missing = sorted({*SDK, *subscribable} - CATALOGUE.keys())
    assert not missing, f"openai {openai.__version__} has types that the catalogue lacks: {', '.join(missing)}"


def test_every_type_is_in_the_sdk_save_those_without_a_class() -> None:
    assert CATALOGUE.keys() - SDK.keys() == {"video.completed", "video.failed"}


@pytest.mark.parametrize("sdk", EVERY_SDK_EVENT)
def test_shape(sdk: type[BaseModel]) -> None:
    ours = getattr(openai_webhooks, sdk.__name__)
    assert type_of(ours) == type_of(sdk)
    assert shape(ours) == shape(sdk)


@pytest.mark.parametrize("depth", get_args(Depth))
@pytest.mark.parametrize("sdk", EVERY_SDK_EVENT)
def test_round_trip(sdk: type[openai.BaseModel], depth: Depth) -> None:
    fields = sample(sdk, depth, "event")
    event = parse(fields)
    assert event.drift is None
    assert type(event).__name__ == sdk.__name__
    assert event.model_dump(exclude_unset=True) == fields
    assert sdk.model_validate(fields).to_dict() == fields
    assert sdk.model_validate(event.model_dump(exclude_unset=True)).to_dict() == fields
    assert parse(sdk.model_validate(fields).to_dict()) == event


def test_samples_reach_every_depth() -> None:
    """So that the round trips above say something."""
    minimal, null, full = (sample(SDK["live.transport.incoming"], depth, "event") for depth in get_args(Depth))
    assert minimal["data"].keys() < full["data"].keys()
    assert (null["data"]["sip_media_security"], full["data"]["sip_media_security"]) == (None, "rtp")
    assert full["data"]["sip_headers"][1]["name"] == "a event.data.sip_headers[1].name"
