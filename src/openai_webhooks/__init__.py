"""OpenAI's webhooks: verify a delivery, unwrap its event, know its type.

No I/O, no clock, no environment: bytes, headers, keys and the time come in as arguments.
"""

from openai_webhooks.errors import (
    InProgress as InProgress,
    Malformed as Malformed,
    NotAccepted as NotAccepted,
    NotConfigured as NotConfigured,
    PublishFailed as PublishFailed,
    TooLarge as TooLarge,
    Unverified as Unverified,
)
from openai_webhooks.events import (
    CATALOGUE as CATALOGUE,
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
    unwrap as unwrap,
)
from openai_webhooks.models import (
    SipHeader as SipHeader,
    WebhookEvent as WebhookEvent,
)
from openai_webhooks.signature import (
    decode_secret as decode_secret,
    sign as sign,
    verify as verify,
)
