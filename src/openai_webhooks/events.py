"""The events that OpenAI sends, as classes under OpenAI's names, and how a body becomes one of them.

Each class's docstring says when OpenAI sends it. The type is a string, not an enum: OpenAI adds types almost
monthly, and one that has no class here yet is an event all the same.
"""

from collections.abc import Mapping
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
    ResourceObjectEvent,
    TypedEvent,
    TypedObjectEvent,
    WebhookEvent,
)


class ResponseCompletedWebhookEvent(ResourceEvent):
    """A background response has finished: retrieve it by `data.id`."""

    type: Literal["response.completed"]


class ResponseFailedWebhookEvent(ResourceEvent):
    """A background response has ended with an error."""

    type: Literal["response.failed"]


class ResponseCancelledWebhookEvent(ResourceEvent):
    """A background response was cancelled before it finished."""

    type: Literal["response.cancelled"]


class ResponseIncompleteWebhookEvent(ResourceEvent):
    """A background response stopped early, for instance at its token limit."""

    type: Literal["response.incomplete"]


class BatchCompletedWebhookEvent(ResourceEvent):
    """A batch has been worked through: fetch its output and error files."""

    type: Literal["batch.completed"]


class BatchFailedWebhookEvent(ResourceEvent):
    """A batch could not be run, for instance because its input file is not valid."""

    type: Literal["batch.failed"]


class BatchExpiredWebhookEvent(ResourceEvent):
    """A batch was not done within its completion window."""

    type: Literal["batch.expired"]


class BatchCancelledWebhookEvent(ResourceEvent):
    """A batch was cancelled."""

    type: Literal["batch.cancelled"]


class FineTuningJobSucceededWebhookEvent(ResourceEvent):
    """A fine-tuning job has finished: its model can be used."""

    type: Literal["fine_tuning.job.succeeded"]


class FineTuningJobFailedWebhookEvent(ResourceEvent):
    """A fine-tuning job has ended with an error."""

    type: Literal["fine_tuning.job.failed"]


class FineTuningJobCancelledWebhookEvent(ResourceEvent):
    """A fine-tuning job was cancelled."""

    type: Literal["fine_tuning.job.cancelled"]


class EvalRunSucceededWebhookEvent(ResourceEvent):
    """An eval run has finished: its results can be read."""

    type: Literal["eval.run.succeeded"]


class EvalRunFailedWebhookEvent(ResourceEvent):
    """An eval run has ended with an error."""

    type: Literal["eval.run.failed"]


class EvalRunCanceledWebhookEvent(ResourceEvent):
    """An eval run was cancelled."""

    type: Literal["eval.run.canceled"]


class VideoCompletedWebhookEvent(ResourceEvent):
    """A video has been made. (OpenAI documents no payload for it: `data.id` is assumed.)"""

    type: Literal["video.completed"]


class VideoFailedWebhookEvent(ResourceEvent):
    """A video could not be made. (OpenAI documents no payload for it: `data.id` is assumed.)"""

    type: Literal["video.failed"]


class RealtimeCallIncomingWebhookEvent(TypedEvent):
    """A SIP call rings: accept or reject it at once, by `data.call_id`."""

    data: RealtimeCall
    type: Literal["realtime.call.incoming"]


class LiveCallIncomingWebhookEvent(TypedEvent):
    """A SIP call rings. Deprecated by OpenAI in favour of `live.transport.incoming`."""

    data: LiveCall
    type: Literal["live.call.incoming"]


class LiveTransportIncomingWebhookEvent(TypedEvent):
    """A SIP call rings for the Live API. The same call can come as `realtime.call.incoming` too."""

    data: LiveSipTransport
    type: Literal["live.transport.incoming"]


class LiveTransportConnectedWebhookEvent(TypedObjectEvent):
    """A Live session runs over WebRTC: a sideband observer can attach, by `data.session_id`."""

    data: LiveWebrtcTransport
    type: Literal["live.transport.connected"]


class AgentSessionCreatedWebhookEvent(TypedObjectEvent):
    """An agent session was created; `data.connect` is where a self-hosted environment connects."""

    data: NewAgentSession
    type: Literal["agent.session.created"]


class AgentSessionInProgressWebhookEvent(AgentSessionEvent):
    """An agent session has begun to work."""

    type: Literal["agent.session.in_progress"]


class AgentSessionIdleWebhookEvent(AgentSessionEvent):
    """An agent session has no work left and waits for input."""

    type: Literal["agent.session.idle"]


class AgentSessionActionRequiredWebhookEvent(TypedObjectEvent):
    """An agent session waits for somebody to act: `data.required_action` says on what."""

    data: AgentSessionAction
    type: Literal["agent.session.action_required"]


class AgentSessionFailedWebhookEvent(AgentSessionEvent):
    """An agent session has ended with an error."""

    type: Literal["agent.session.failed"]


class AgentEnvironmentReadyWebhookEvent(ResourceObjectEvent):
    """An environment that OpenAI hosts was set up ahead of its session and is ready."""

    type: Literal["agent.environment.ready"]


class AgentEnvironmentSuspendedWebhookEvent(ResourceObjectEvent):
    """An agent's environment was suspended; it can resume from its snapshot."""

    type: Literal["agent.environment.suspended"]


class AgentEnvironmentExpiredWebhookEvent(ResourceObjectEvent):
    """An agent's environment has expired and can no longer resume."""

    type: Literal["agent.environment.expired"]


class AgentEnvironmentFailedWebhookEvent(ResourceObjectEvent):
    """An environment that OpenAI hosts could not be set up ahead of its session."""

    type: Literal["agent.environment.failed"]


class SafetyAlertCreatedWebhookEvent(ResourceObjectEvent):
    """A safety alert is there for one of your projects."""

    type: Literal["safety.alert.created"]


class SafetyOrgAlertCreatedWebhookEvent(ResourceObjectEvent):
    """A safety alert is there for the whole workspace."""

    type: Literal["safety.org_alert.created"]


class SafetyWarningIssuedWebhookEvent(ResourceObjectEvent):
    """OpenAI has issued a warning about one of your end users, by safety identifier."""

    type: Literal["safety.warning_issued"]


class SafetyDeactivationIssuedWebhookEvent(ResourceObjectEvent):
    """OpenAI has deactivated one of your end users, by safety identifier."""

    type: Literal["safety.deactivation_issued"]


class SafetyIdentifierBlockedWebhookEvent(TypedEvent):
    """A request was blocked; `data.safety_identifier` is the end user you sent it for."""

    data: BlockedSafetyIdentifier
    type: Literal["safety_identifier.blocked"]


CATALOGUE: Final[Mapping[str, type[TypedEvent]]] = {
    get_args(event.model_fields["type"].annotation)[0]: event
    for event in list(globals().values())
    if isinstance(event, type) and issubclass(event, TypedEvent) and event.__module__ == __name__
}
"""Each known type, with its class."""


def unwrap(body: bytes) -> WebhookEvent:
    """The event in a delivery's body. Call it after `verify`.

    Raises Malformed unless the body is strict JSON (RFC 8259: UTF-8, no BOM, no NaN or Infinity; at most 200
    levels deep), an object, with a `type` that a bus can carry: 1 to 128 characters.
    """
    try:
        fields = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise Malformed("the body is not strict JSON") from None
    return parse(fields)


def parse(fields: Any) -> WebhookEvent:
    """The event in decoded JSON, for instance in the `detail` that a rule delivers.

    Its class is chosen by `type` alone. An unknown type, and a known one that does not fit its class, give a
    plain WebhookEvent (see there). Raises Malformed without a `type` of 1 to 128 characters.
    """
    try:
        event = WebhookEvent.model_validate(fields)
    except ValidationError:
        raise Malformed("the body is not an object with a `type` of 1 to 128 characters") from None
    if event.type not in CATALOGUE:
        return event
    try:
        return CATALOGUE[event.type].model_validate(fields)
    except ValidationError as error:
        departures = error.errors(include_url=False, include_context=False, include_input=False)
        event._drift = "; ".join(f"{'.'.join(map(str, d['loc']))}: {d['type']}" for d in departures)
        return event
