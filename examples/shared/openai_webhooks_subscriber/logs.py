"""The functions' logger: JSON lines, with the event's id as `correlation_id`."""

from aws_lambda_powertools import Logger

logger = Logger()
"""POWERTOOLS_SERVICE_NAME and POWERTOOLS_LOG_LEVEL configure it. Never log an event: it can have personal data."""

log_event_id = logger.inject_lambda_context(correlation_id_path="detail.id", log_event=False)
"""Decorates a handler, so that each line of its log has OpenAI's event id."""
