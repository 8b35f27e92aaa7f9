"""What every event has in common, and the few shapes that its `data` takes.

Fields, optionality and literals are those of openai-python's `openai.types.webhooks`. Fields that OpenAI adds
later are kept.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field


class Model(BaseModel):
    """Base of all: strict, immutable, open to new fields, and silent about its values."""

    # strict: a `created_at` that turns into a string is a change to hear of, not one to paper over.
    # hide_input_in_errors and __repr_args__: no payload in an exception's text or a repr.
    # defer_build: a receiver meets few of the types, so each validator is built when its first event comes.
    model_config = ConfigDict(extra="allow", strict=True, frozen=True, hide_input_in_errors=True, defer_build=True)

    def __repr_args__(self) -> list[tuple[str, str]]:
        return []


class WebhookEvent(Model):
    """Any event. In an instance of this very class all but `type` is unchecked, in `model_extra` as it came.

    That is an event of a type that is not in the catalogue, or one that does not fit its type's class: then
    `drift` says why.
    """

    type: str = Field(min_length=1, max_length=128)

    _drift: str | None = None

    @property
    def drift(self) -> str | None:
        """Where the event departs from its type's class, without values: `data.id: missing`."""
        return self._drift

    def __repr_args__(self) -> list[tuple[str, str]]:
        return [("type", self.type)]


class TypedEvent(WebhookEvent):
    id: str
    created_at: int  # Unix seconds
    object: Literal["event"] | None = None


class TypedObjectEvent(TypedEvent):
    object: Literal["event"]


class Resource(Model):
    id: str


class SipHeader(Model):
    """One header of a SIP INVITE. Untrusted: the caller wrote it."""

    name: str
    value: str


class SipCall(Model):
    # FailFast: the caller decides how many there are, and to tell of each wrong one takes a second a MiB.
    sip_headers: Annotated[list[SipHeader], FailFast()]
    """In the order in which they came, repeated ones included."""
    sip_media_security: Literal["rtp", "srtp"] | str | None = None
    """How the media are protected; absent where unknown, and other values may come."""


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


class ResourceObjectEvent(TypedObjectEvent):
    data: Resource


class AgentSessionEvent(TypedObjectEvent):
    data: AgentSession
