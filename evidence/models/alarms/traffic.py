"""When new deliveries arrive."""

from typing import NamedTuple

import numpy as np

from evidence.models.alarms.cloudwatch import DAY, Minutes


class Traffic(NamedTuple):
    name: str
    rate: float | None
    """Deliveries per hour. None: 500 in 10 minutes, then nothing for 2 to 6 days."""
    quiet_hours: int
    """What a user of this traffic sets as `QuietHours`."""
    quiet_hours_suffice: bool = True
    """Whether no healthy pause is longer than `quiet_hours`."""

    @property
    def longest_pause(self) -> int:
        """Minutes within which a delivery arrives, except in one of 10^7 cases."""
        return 6 * DAY + 10 if self.rate is None else round(17 * 60 / self.rate) + 1

    def arrivals(self, minutes: int, rng: np.random.Generator) -> Minutes:
        """Return the number of deliveries in each minute."""
        if self.rate is not None:
            return rng.poisson(self.rate / 60, minutes)
        arrivals = np.zeros(minutes, int)
        burst = int(rng.uniform(0, 6 * DAY))
        while burst < minutes - 10:
            arrivals[burst : burst + 10] = rng.multinomial(500, np.full(10, 0.1))
            burst += int(rng.uniform(2 * DAY, 6 * DAY))
        return arrivals


TRAFFIC = (
    Traffic("0.05 per hour", 0.05, 168, quiet_hours_suffice=False),
    Traffic("1 per hour", 1, 24),
    Traffic("100 per hour", 100, 1),
    Traffic("100,000 per hour", 100_000, 1),
    Traffic("bursts", None, 168),
)
BETWEEN = (Traffic("10 per hour", 10, 3), Traffic("1,000 per hour", 1_000, 1))
"""For healthy months: here, a single failure matters most."""
