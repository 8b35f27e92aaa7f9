"""What the function reports: one log line and one metric for each delivery, and more only when something is wrong."""

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit


class Telemetry:
    """The log and the metrics. Nothing that goes into them is a secret, a signature or part of a payload."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self._logger = logger
        self._metrics = metrics

    def annotate(self, **fields: str) -> None:
        """Add fields to the log lines of this delivery."""
        self._logger.append_keys(**fields)

    def accepted(self, outcome: str) -> None:
        """Report that the delivery's event is on the bus."""
        self._count(outcome)
        self._logger.info(outcome)

    def rejected(self, outcome: str, reason: str) -> None:
        """Report that the delivery was not accepted, and why."""
        self._count(outcome)
        self._logger.warning(outcome, reason=reason)

    def schema_drift(self, drift: str) -> None:
        """Report that an event does not fit the class of its type."""
        self._count("SchemaDrift")
        self._logger.warning("The event does not fit the class of its type. It is published unchanged", drift=drift)

    def deduplication_unavailable(self, code: str) -> None:
        """Report that the deliveries table failed."""
        self._count("DeduplicationUnavailable")
        self._logger.error("The deliveries table failed. The delivery goes on without deduplication", reason=code)

    def keys_not_refreshed(self, problem: str) -> None:
        """Report that the signing secret could not be read again."""
        self._logger.error("The signing secret could not be read. The cached keys stay in use", reason=problem)

    def _count(self, metric: str) -> None:
        self._metrics.add_metric(name=metric, unit=MetricUnit.Count, value=1)
