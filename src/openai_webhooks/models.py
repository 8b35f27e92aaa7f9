"""What all events have in common, and the shapes of their `data`.

Fields, optional fields and literals are those of openai-python's `openai.types.webhooks`, with one exception: `object`
is optional in every event. Fields that OpenAI adds later are kept.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError


class Model(BaseModel):
    """Base class of all models: strict, immutable, open to new fields. Its text and its repr hide the payload."""

    # strict: a `created_at` that becomes a string is a change to report, not to convert.
    # hide_input_in_errors and __repr_args__: no payload in an exception's text, in a repr or in `print(event)`.
    # defer_build: a receiver sees few of the types, so a validator is built when its first event arrives.
    model_config = ConfigDict(extra="allow", strict=True, frozen=True, hide_input_in_errors=True, defer_build=True)

    def __repr_args__(self) -> list[tuple[str, str]]:
        return [("payload", "hidden")]


class WebhookEvent(Model):
    """Any event. A plain WebhookEvent validates only `type`; everything else is in `model_extra`, unchecked.

    An event is a plain WebhookEvent if its type is not in the catalog, or if it does not fit the class of its type. In
    the second case `drift` says where.
    """

    type: str = Field(min_length=1, max_length=128)

    _drift: str | None = None

    @property
    def drift(self) -> str | None:
        """Where the event does not fit the class of its type, without values: `data.id: missing`."""
        return self._drift

    def with_drift(self, error: ValidationError) -> Self:
        """Return a copy of the event whose `drift` names the fields in `error`."""
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        event = self.model_copy()
        event._drift = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['type']}" for fault in faults)
        return event

    def __repr_args__(self) -> list[tuple[str, str]]:
        event_id = getattr(self, "id", None)  # unchecked in a plain WebhookEvent
        known = [("id", event_id)] if isinstance(event_id, str) else []
        return [("type", self.type), *known, *super().__repr_args__()]


class TypedEvent(WebhookEvent):
    """An event of a known type."""

    id: str
    created_at: int
    """Unix seconds."""
    object: Literal["event"] | None = None


class Resource(Model):
    id: str


class SipHeader(Model):
    """One header of a SIP INVITE. Do not trust it: the caller wrote it."""

    name: str
    value: str


class SipCall(Model):
    # FailFast: the caller controls the number of headers, and reporting every invalid one costs about 1 s per MiB.
    sip_headers: Annotated[list[SipHeader], FailFast()]
    """In the order they arrived. Names can repeat."""
    sip_media_security: Literal["rtp", "srtp"] | str | None = None
    """How the media are protected. None if unknown; other values are possible."""


class RealtimeCall(SipCall):
    call_id: str


class LiveCall(SipCall):
    session_id: str


class LiveSipTransport(LiveCall):
    type: Literal["sip"]


class LiveWebrtcTransport(Model):
    session_id: str
    type: Literal["webrtc"]


class RequiredAction(Model):
    type: Literal["computer_use_approval_request", "mcp_approval_request", "function_call", "environment_connection"]


class AgentSessionAction(Resource):
    required_action: RequiredAction


class AgentSession(Resource):
    environment_type: str
    environment_id: str | None = None


class AgentConnect(Model):
    remote_url: str


class NewAgentSession(AgentSession):
    connect: AgentConnect | None = None


class BlockedSafetyIdentifier(Model):
    safety_category: str
    safety_identifier: str
    model: str | None = None
    project_id: str | None = None
    request_id: str | None = None


class ResourceEvent(TypedEvent):
    data: Resource


class AgentSessionEvent(TypedEvent):
    data: AgentSession
