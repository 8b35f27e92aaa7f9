"""How AWS, OpenAI and strangers behave where nobody documents it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from evidence.models.alarms.metric_math import NoData
from evidence.models.inputs import RETRY_DELAYS

type Delays = Mapping[int, float]
"""The share of points by the minutes after which they are visible. They are assumed: AWS does not publish them."""

DELAYS: Delays = {0: 0.2, 1: 0.5, 2: 0.298, 5: 0.002}
MATCHED_DELAYS: Delays = {1: 0.4, 2: 0.35, 3: 0.15, 4: 0.08, 6: 0.0195, 10: 0.0005}


@dataclass(frozen=True)
class Reading:
    """What AWS and OpenAI do where their documentation is silent."""

    name: str = "the tables above"
    no_data: NoData = "is filled"
    extra_periods: int = 2
    """Periods that CloudWatch fetches in addition to `EvaluationPeriods`."""
    matched_delays: Delays = field(default_factory=lambda: MATCHED_DELAYS)
    retry_delays: tuple[float, ...] = RETRY_DELAYS
    forgeries: float = 1.0
    """Strangers' requests per hour with a wrong signature, each with its own webhook-id."""
    unsigned: float = 20.0
    """Strangers' requests per hour without a webhook-id."""
    failure_rate: float = 1e-6
    """The share of healthy deliveries that EventBridge, or the table, fails once."""


READINGS = (
    Reading("`FILL` leaves a metric without any point empty", no_data="stays empty"),
    Reading("CloudWatch fetches no extra periods", extra_periods=0),
    Reading("CloudWatch fetches 6 extra periods", extra_periods=6),
    Reading("`MatchedEvents` is always 14 minutes late", matched_delays={14: 1.0}),
    Reading("retries after 1, 2, 4, 8, … minutes", retry_delays=tuple(60 * 2**retry for retry in range(12))),
    Reading("retries after 10 minutes, 1 hour, 2, 4, 8 hours", retry_delays=(600, 3_600, 7_200, 14_400, 28_800)),
    Reading("100 forged deliveries per hour", forgeries=100),
    Reading("a failure in 100,000 healthy deliveries", failure_rate=1e-5),
)
LIMITS = (
    Reading("a metric without any point empties the whole expression", no_data="empties the expression"),
    Reading("a failure in 10,000 healthy deliveries", failure_rate=1e-4),
)
"""Here, the alarms no longer work."""
