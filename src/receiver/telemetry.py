"""What the function reports: exactly one line for each delivery, and more lines only when something is wrong.

The line is in CloudWatch's embedded metric format, so it is a log line and the delivery's metrics at the same time:
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

_JSON = json.JSONEncoder(separators=(",", ":"))


class Telemetry:
    """The line of the current delivery. Nothing in it is a secret, a signature or part of a payload.

    One object is enough, because Lambda gives an instance one delivery at a time. `clock` returns seconds, for the
    duration.
    """

    def __init__(self, metrics: Metrics, logger: Logger, clock: Callable[[], float]) -> None:
        self._metrics = metrics
        self._logger = logger
        self._clock = clock
        self._cold_start = True
        self._webhook_id = ""

    @contextmanager
    def delivery(self, request_id: str, now: int) -> Iterator[None]:
        """Write the line at the end of the `with` statement. After an unexpected error, there is no line.

        `now` is in Unix seconds. The metrics have this time, which is before EventBridge's metrics of the event.
        """
        start = self._clock()
        self.annotate(request_id=request_id, cold_start=self._cold_start)
        self._cold_start = False
        try:
            yield
        except BaseException:
            self._metrics.clear_metrics()
            raise
        self.annotate(duration_ms=round((self._clock() - start) * 1000, 1))
        line = self._metrics.serialize_metric_set()
        line["_aws"]["Timestamp"] = now * 1000  # milliseconds
        # One write instead of the two of `flush_metrics`, because each write is a system call.
        sys.stdout.write(_JSON.encode(line) + "\n")
        self._metrics.clear_metrics()

    def annotate(self, **properties: str | float) -> None:
        """Add properties to the line."""
        for name, value in properties.items():
            self._metrics.add_metadata(name, value)

    def identify(self, webhook_id: str) -> None:
        """Name the delivery, in its line and in the lines about its errors, if the request has a `webhook-id`."""
        self._webhook_id = webhook_id
        if webhook_id:
            self.annotate(webhook_id=webhook_id)

    def accepted(self, outcome: str) -> None:
        """Report that the delivery's event is on the bus."""
        self._count(outcome)
        self.annotate(level="INFO", outcome=outcome)

    def rejected(self, outcome: str, reason: str) -> None:
        """Report that the delivery was not accepted, and why."""
        self._count(outcome)
        self.annotate(level="WARNING", outcome=outcome, reason=reason)

    def schema_drift(self, drift: str) -> None:
        """Report that the event does not fit the class of its type. It is published unchanged."""
        self._count("SchemaDrift")
        self.annotate(drift=drift)

    def deduplication_unavailable(self, code: str) -> None:
        """Report that the deliveries table failed."""
        self._count("DeduplicationUnavailable")
        self._error("The deliveries table failed. The delivery goes on without deduplication", code)

    def keys_not_refreshed(self, problem: str) -> None:
        """Report that the signing secret could not be read again."""
        self._error("The signing secret could not be read. The cached keys stay in use", problem)

    def secret_malformed(self, problem: str) -> None:
        """Report that one of several values in the signing secret is malformed."""
        self._count("SecretMalformed")
        self._error("A value in the signing secret is malformed. The others stay in use", problem)

    def _count(self, metric: str) -> None:
        self._metrics.add_metric(name=metric, unit=MetricUnit.Count, value=1)

    def _error(self, message: str, reason: str) -> None:
        self._logger.error(message, reason=reason, webhook_id=self._webhook_id)
