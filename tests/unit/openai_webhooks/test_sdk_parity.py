"""Our event classes compared with openai-python's: the same names, types, fields and literals."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import openai.types.webhooks
import pytest
from openai.types.webhooks import UnwrapWebhookEvent
from openai.types.webhooks.webhook_create_params import WebhookCreateParams
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import openai_webhooks
from openai_webhooks import CATALOG, parse


def leaves(annotation: Any) -> Iterator[Any]:
    """Yield the parts of an annotation: A and B of `Annotated[Union[A, B], ...]`, "x" of `List[Literal["x"]]`."""
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


# The class of `safety_identifier.blocked` is not in the union.
EXPORTED = [
    e for name, e in vars(openai.types.webhooks).items() if isinstance(e, type) and name.endswith("WebhookEvent")
]
SDK: dict[str, type[openai.BaseModel]] = {type_of(event): event for event in [*leaves(UnwrapWebhookEvent), *EXPORTED]}


def shape(annotation: Any) -> Any:
    """Return an annotation as plain data that can be compared. A model becomes its fields, recursively."""
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
    # In Python 3.13, Union[X, Y] and X | Y have different origins.
    origin = list if origin is list else Union
    return origin, *sorted(map(shape, arguments), key=repr)


# The one deliberate difference. Some classes of the SDK require `object`.
OPTIONAL_OBJECT = {"object": (("default", None), shape(Literal["event"] | None))}


Depth = Literal["minimal", "null", "full"]


def sample(annotation: Any, depth: Depth, name: str = "event") -> Any:
    """Return a value of this type. `depth` says whether optional fields are missing, null or filled in."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {
            inner: sample_field(field, depth, f"{name}.{inner}")
            for inner, field in annotation.model_fields.items()
            if field.is_required() or depth != "minimal"
        }
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is str:
        return f"text of {name}"
    if annotation is int:
        return 1750287018
    if origin is list:
        return [sample(arguments[0], depth, f"{name}[{i}]") for i in range(2)]
    if origin is Literal:
        return arguments[0]
    return sample(arguments[0], depth, name)  # The first member of a union.


def sample_field(field: FieldInfo, depth: Depth, name: str) -> Any:
    return None if depth == "null" and not field.is_required() else sample(field.annotation, depth, name)


def test_catalog_has_every_sdk_type() -> None:
    """Types with a class in the SDK, and types that the SDK's endpoint API can subscribe to."""
    subscribable = leaves(get_type_hints(WebhookCreateParams)["event_types"])
    missing = sorted({*SDK, *subscribable} - CATALOG.keys())
    assert not missing, f"openai {openai.__version__} has types that CATALOG lacks: {', '.join(missing)}"


def test_only_video_types_have_no_sdk_class() -> None:
    assert CATALOG.keys() - SDK.keys() == {"video.completed", "video.failed"}


def test_class_has_sdk_name_and_fields() -> None:
    for event_type, sdk in SDK.items():
        ours = getattr(openai_webhooks, sdk.__name__)
        assert type_of(ours) == event_type
        assert shape(ours) == shape(sdk) | OPTIONAL_OBJECT, event_type


@pytest.mark.parametrize("depth", get_args(Depth))
def test_event_survives_round_trip_with_sdk(depth: Depth) -> None:
    for sdk in SDK.values():
        fields = sample(sdk, depth)
        event = parse(fields)
        assert event.drift is None, sdk
        assert type(event).__name__ == sdk.__name__
        assert event.model_dump(exclude_unset=True) == fields
        assert sdk.model_validate(fields).to_dict() == fields
        assert sdk.model_validate(event.model_dump(exclude_unset=True)).to_dict() == fields
        assert parse(sdk.model_validate(fields).to_dict()) == event


def test_event_without_object_is_typed() -> None:
    for event_type, sdk in SDK.items():
        fields = sample(sdk, "full")
        del fields["object"]
        assert type(parse(fields)) is CATALOG[event_type], event_type
        assert type(parse(fields | {"object": None})) is CATALOG[event_type], event_type
