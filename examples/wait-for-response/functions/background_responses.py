"""OpenAI's background responses."""

from openai import APIStatusError, NotFoundError

from openai_webhooks_subscriber.logs import logger
from openai_webhooks_subscriber.openai_api import openai_client

# Step Functions and Lambda retry the functions. The SDK's own retries could wait longer than a function may run.
OPENAI = openai_client(timeout=15, max_retries=0)

FINAL = {"completed", "failed", "cancelled", "incomplete"}
"""The states that a response does not leave."""


def cancel(response_id: str) -> None:
    """Cancel a response. A response that has ended, or that no longer exists, is fine too."""
    try:
        status = OPENAI.responses.cancel(response_id).status
    except NotFoundError:
        status = None
    except APIStatusError:
        # OpenAI does not document what it answers if the response has ended. So look at the response.
        status = OPENAI.responses.retrieve(response_id).status
        if status not in FINAL:
            raise
    logger.info("Response canceled, or ended before", response_id=response_id, status=status)
