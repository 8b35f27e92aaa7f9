"""The events that OpenAI sends, as classes with OpenAI's names, and the functions that return one of them.

Each class's docstring says when OpenAI sends the event. A type is a string and not an enum, because OpenAI adds types
almost monthly: an event whose type has no class here is still an event.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, get_args

from pydantic import ValidationError
from pydantic_core import from_json

from openai_webhooks.errors import Malformed
from openai_webhooks.models import (
    AgentSessionAction,
    AgentSessionEvent,
    BlockedSafetyIdentifier,
    LiveCall,
    LiveSipTransport,
    LiveWebrtcTransport,
    NewAgentSession,
    RealtimeCall,
    ResourceEvent,
    TypedEvent,
    WebhookEvent,
)
from openai_webhooks.signature import Headers, verify


class ResponseCompletedWebhookEvent(ResourceEvent):
    """A background response finished. Retrieve it by `data.id`."""

    type: Literal["response.completed"]


class ResponseFailedWebhookEvent(ResourceEvent):
    """A background response failed."""

    type: Literal["response.failed"]


class ResponseCancelledWebhookEvent(ResourceEvent):
    """A background response was canceled before it finished."""

    type: Literal["response.cancelled"]


class ResponseIncompleteWebhookEvent(ResourceEvent):
    """A background response stopped early, for example at its token limit."""

    type: Literal["response.incomplete"]


class BatchCompletedWebhookEvent(ResourceEvent):
    """A batch finished. Fetch its output and error files."""

    type: Literal["batch.completed"]


class BatchFailedWebhookEvent(ResourceEvent):
    """A batch could not run, for example because its input file is not valid."""

    type: Literal["batch.failed"]


class BatchExpiredWebhookEvent(ResourceEvent):
    """A batch did not finish within its completion window. It can have partial results."""

    type: Literal["batch.expired"]


class BatchCancelledWebhookEvent(ResourceEvent):
    """A batch was canceled."""

    type: Literal["batch.cancelled"]


class FineTuningJobSucceededWebhookEvent(ResourceEvent):
    """A fine-tuning job finished. You can use its model."""

    type: Literal["fine_tuning.job.succeeded"]


class FineTuningJobFailedWebhookEvent(ResourceEvent):
    """A fine-tuning job failed."""

    type: Literal["fine_tuning.job.failed"]


class FineTuningJobCancelledWebhookEvent(ResourceEvent):
    """A fine-tuning job was canceled."""

    type: Literal["fine_tuning.job.cancelled"]


class EvalRunSucceededWebhookEvent(ResourceEvent):
    """An eval run finished. You can read its results."""

    type: Literal["eval.run.succeeded"]


class EvalRunFailedWebhookEvent(ResourceEvent):
    """An eval run failed."""

    type: Literal["eval.run.failed"]


class EvalRunCanceledWebhookEvent(ResourceEvent):
    """An eval run was canceled."""

    type: Literal["eval.run.canceled"]


class VideoCompletedWebhookEvent(ResourceEvent):
    """A video is ready. (OpenAI documents no payload for this type; `data.id` is assumed.)"""

    type: Literal["video.completed"]


class VideoFailedWebhookEvent(ResourceEvent):
    """A video could not be made. (OpenAI documents no payload for this type; `data.id` is assumed.)"""

    type: Literal["video.failed"]


class RealtimeCallIncomingWebhookEvent(TypedEvent):
    """A SIP call is incoming. Accept or reject it at once, by `data.call_id`."""

    data: RealtimeCall
    type: Literal["realtime.call.incoming"]


class LiveCallIncomingWebhookEvent(TypedEvent):
    """A SIP call is incoming. OpenAI deprecated this type in favor of `live.transport.incoming`."""

    data: LiveCall
    type: Literal["live.call.incoming"]


class LiveTransportIncomingWebhookEvent(TypedEvent):
    """A SIP call is incoming for the Live API. `realtime.call.incoming` can announce the same call."""

    data: LiveSipTransport
    type: Literal["live.transport.incoming"]


class LiveTransportConnectedWebhookEvent(TypedEvent):
    """A Live session is connected over WebRTC. A sideband observer can attach, by `data.session_id`."""

    data: LiveWebrtcTransport
    type: Literal["live.transport.connected"]


class AgentSessionCreatedWebhookEvent(TypedEvent):
    """An agent session was created. A self-hosted environment connects at `data.connect`."""

    data: NewAgentSession
    type: Literal["agent.session.created"]


class AgentSessionInProgressWebhookEvent(AgentSessionEvent):
    """An agent session started to work."""

    type: Literal["agent.session.in_progress"]


class AgentSessionIdleWebhookEvent(AgentSessionEvent):
    """An agent session has no work left and waits for input."""

    type: Literal["agent.session.idle"]


class AgentSessionActionRequiredWebhookEvent(TypedEvent):
    """An agent session waits for someone to act. `data.required_action` says what is needed."""

    data: AgentSessionAction
    type: Literal["agent.session.action_required"]


class AgentSessionFailedWebhookEvent(AgentSessionEvent):
    """An agent session failed."""

    type: Literal["agent.session.failed"]


class AgentEnvironmentReadyWebhookEvent(ResourceEvent):
    """An environment that OpenAI hosts is ready. It was set up before its session."""

    type: Literal["agent.environment.ready"]


class AgentEnvironmentSuspendedWebhookEvent(ResourceEvent):
    """An agent's environment was suspended. It can resume from its snapshot."""

    type: Literal["agent.environment.suspended"]


class AgentEnvironmentExpiredWebhookEvent(ResourceEvent):
    """An agent's environment expired and can no longer resume."""

    type: Literal["agent.environment.expired"]


class AgentEnvironmentFailedWebhookEvent(ResourceEvent):
    """An environment that OpenAI hosts could not be set up before its session."""

    type: Literal["agent.environment.failed"]


class SafetyAlertCreatedWebhookEvent(ResourceEvent):
    """OpenAI raised a safety alert for one of your projects."""

    type: Literal["safety.alert.created"]


class SafetyOrgAlertCreatedWebhookEvent(ResourceEvent):
    """OpenAI raised a safety alert for the whole organization."""

    type: Literal["safety.org_alert.created"]


class SafetyWarningIssuedWebhookEvent(ResourceEvent):
    """OpenAI issued a warning about one of your end users, by safety identifier."""

    type: Literal["safety.warning_issued"]


class SafetyDeactivationIssuedWebhookEvent(ResourceEvent):
    """OpenAI deactivated one of your end users, by safety identifier."""

    type: Literal["safety.deactivation_issued"]


class SafetyIdentifierBlockedWebhookEvent(TypedEvent):
    """A request was blocked. `data.safety_identifier` is the end user you sent it for."""

    data: BlockedSafetyIdentifier
    type: Literal["safety_identifier.blocked"]


_EVENTS: Final[tuple[type[TypedEvent], ...]] = (
    ResponseCompletedWebhookEvent,
    ResponseFailedWebhookEvent,
    ResponseCancelledWebhookEvent,
    ResponseIncompleteWebhookEvent,
    BatchCompletedWebhookEvent,
    BatchFailedWebhookEvent,
    BatchExpiredWebhookEvent,
    BatchCancelledWebhookEvent,
    FineTuningJobSucceededWebhookEvent,
    FineTuningJobFailedWebhookEvent,
    FineTuningJobCancelledWebhookEvent,
    EvalRunSucceededWebhookEvent,
    EvalRunFailedWebhookEvent,
    EvalRunCanceledWebhookEvent,
    VideoCompletedWebhookEvent,
    VideoFailedWebhookEvent,
    RealtimeCallIncomingWebhookEvent,
    LiveCallIncomingWebhookEvent,
    LiveTransportIncomingWebhookEvent,
    LiveTransportConnectedWebhookEvent,
    AgentSessionCreatedWebhookEvent,
    AgentSessionInProgressWebhookEvent,
    AgentSessionIdleWebhookEvent,
    AgentSessionActionRequiredWebhookEvent,
    AgentSessionFailedWebhookEvent,
    AgentEnvironmentReadyWebhookEvent,
    AgentEnvironmentSuspendedWebhookEvent,
    AgentEnvironmentExpiredWebhookEvent,
    AgentEnvironmentFailedWebhookEvent,
    SafetyAlertCreatedWebhookEvent,
    SafetyOrgAlertCreatedWebhookEvent,
    SafetyWarningIssuedWebhookEvent,
    SafetyDeactivationIssuedWebhookEvent,
    SafetyIdentifierBlockedWebhookEvent,
)

CATALOG: Final[Mapping[str, type[TypedEvent]]] = {
    get_args(event.model_fields["type"].annotation)[0]: event for event in _EVENTS
}
"""Every known type and its class. The class names its type, in the `Literal` of its field `type`."""


def unwrap(body: bytes, headers: Headers, *, keys: Iterable[bytes], now: int, tolerance: int = 300) -> WebhookEvent:
    """Verify a delivery and return its event.

    `body` is the exact bytes of the request. `headers` is a dict with lower-case names, or the headers of a web
    framework. `keys` come from `decode_secret`. `now` is in Unix seconds, `tolerance` in seconds. Raises Unverified
    unless one of `keys` signed the delivery within `tolerance` of `now`, and Malformed if the body is not an event.
    """
    verify(body, headers, keys=keys, now=now, tolerance=tolerance)
    return parse_body(body)


def parse_body(body: bytes) -> WebhookEvent:
    """Return the event in a body that is already verified. This function verifies nothing: use `unwrap` for that.

    Raises Malformed unless the body is an object in strict JSON with a `type` of 1 to 128 characters, which is what
    EventBridge accepts. Strict JSON is RFC 8259: UTF-8 without a BOM, no NaN or Infinity, at most 200 levels deep.
    """
    try:
        fields = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise Malformed("the body is not strict JSON") from None
    return parse(fields)


def parse(fields: Any) -> WebhookEvent:
    """Return the event in decoded JSON that is already verified, for example the `detail` that a rule delivers.

    `type` alone decides the class. An event of an unknown type, or an event that does not fit the class of its type,
    becomes a plain WebhookEvent. In the second case `drift` says where it does not fit. Raises Malformed without a
    `type` of 1 to 128 characters.
    """
    try:
        event = WebhookEvent.model_validate(fields)
    except ValidationError:
        raise Malformed("the body is not an object with a `type` of 1 to 128 characters") from None
    if event.type not in CATALOG:
        return event
    try:
        return CATALOG[event.type].model_validate(fields)
    except ValidationError as error:
        return event.with_drift(error)
