"""Verify OpenAI's webhooks and unwrap their events into typed classes.

This package does no I/O and reads neither a clock nor the environment. Bytes, headers, keys and the time are arguments.
"""

from openai_webhooks.errors import (
    InvalidSecret as InvalidSecret,
    Malformed as Malformed,
    Unverified as Unverified,
    WebhookError as WebhookError,
)

# [[[cog
# from scripts.exports import event_exports
# cog.outl(event_exports())
# ]]]
from openai_webhooks.events import (
    CATALOG as CATALOG,
    AgentEnvironmentExpiredWebhookEvent as AgentEnvironmentExpiredWebhookEvent,
    AgentEnvironmentFailedWebhookEvent as AgentEnvironmentFailedWebhookEvent,
    AgentEnvironmentReadyWebhookEvent as AgentEnvironmentReadyWebhookEvent,
    AgentEnvironmentSuspendedWebhookEvent as AgentEnvironmentSuspendedWebhookEvent,
    AgentSessionActionRequiredWebhookEvent as AgentSessionActionRequiredWebhookEvent,
    AgentSessionCreatedWebhookEvent as AgentSessionCreatedWebhookEvent,
    AgentSessionFailedWebhookEvent as AgentSessionFailedWebhookEvent,
    AgentSessionIdleWebhookEvent as AgentSessionIdleWebhookEvent,
    AgentSessionInProgressWebhookEvent as AgentSessionInProgressWebhookEvent,
    BatchCancelledWebhookEvent as BatchCancelledWebhookEvent,
    BatchCompletedWebhookEvent as BatchCompletedWebhookEvent,
    BatchExpiredWebhookEvent as BatchExpiredWebhookEvent,
    BatchFailedWebhookEvent as BatchFailedWebhookEvent,
    EvalRunCanceledWebhookEvent as EvalRunCanceledWebhookEvent,
    EvalRunFailedWebhookEvent as EvalRunFailedWebhookEvent,
    EvalRunSucceededWebhookEvent as EvalRunSucceededWebhookEvent,
    FineTuningJobCancelledWebhookEvent as FineTuningJobCancelledWebhookEvent,
    FineTuningJobFailedWebhookEvent as FineTuningJobFailedWebhookEvent,
    FineTuningJobSucceededWebhookEvent as FineTuningJobSucceededWebhookEvent,
    LiveCallIncomingWebhookEvent as LiveCallIncomingWebhookEvent,
    LiveTransportConnectedWebhookEvent as LiveTransportConnectedWebhookEvent,
    LiveTransportIncomingWebhookEvent as LiveTransportIncomingWebhookEvent,
    RealtimeCallIncomingWebhookEvent as RealtimeCallIncomingWebhookEvent,
    ResponseCancelledWebhookEvent as ResponseCancelledWebhookEvent,
    ResponseCompletedWebhookEvent as ResponseCompletedWebhookEvent,
    ResponseFailedWebhookEvent as ResponseFailedWebhookEvent,
    ResponseIncompleteWebhookEvent as ResponseIncompleteWebhookEvent,
    SafetyAlertCreatedWebhookEvent as SafetyAlertCreatedWebhookEvent,
    SafetyDeactivationIssuedWebhookEvent as SafetyDeactivationIssuedWebhookEvent,
    SafetyIdentifierBlockedWebhookEvent as SafetyIdentifierBlockedWebhookEvent,
    SafetyOrgAlertCreatedWebhookEvent as SafetyOrgAlertCreatedWebhookEvent,
    SafetyWarningIssuedWebhookEvent as SafetyWarningIssuedWebhookEvent,
    VideoCompletedWebhookEvent as VideoCompletedWebhookEvent,
    VideoFailedWebhookEvent as VideoFailedWebhookEvent,
    parse as parse,
    parse_body as parse_body,
    unwrap as unwrap,
)

# [[[end]]]
from openai_webhooks.models import (
    SipHeader as SipHeader,
    WebhookEvent as WebhookEvent,
)
from openai_webhooks.signature import (
    Headers as Headers,
    Signature as Signature,
    decode_named_secret as decode_named_secret,
    decode_secret as decode_secret,
    parse_signature as parse_signature,
    sign as sign,
    verify as verify,
)
