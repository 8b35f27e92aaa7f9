"""Start a background response for an execution, which then waits without a running function."""

from typing import Any

from aws_lambda_powertools.utilities.typing import LambdaContext
from openai import APIError

from background_responses import OPENAI, cancel
from execution_table import add_response
from openai_webhooks_subscriber.logs import logger
from openai_webhooks_subscriber.openai_api import explain_refusal
from task_token import InvalidInput, with_task_token
from waiting_task import is_waiting

# Longer than for other requests: if OpenAI's answer comes too late, the retry starts a second response.
_CLIENT = OPENAI.with_options(timeout=30)


@logger.inject_lambda_context(correlation_id_path="execution_arn", log_event=False)
@explain_refusal()
def handler(task: dict[str, Any], _context: LambdaContext) -> None:
    # As `extra_body`, so that every key is sent as a field of the request. As arguments, keys such as `extra_headers`
    # would change the SDK's own options.
    response = _CLIENT.responses.create(extra_body=request_body(task["request"], task["task_token"]))
    try:
        # An execution can be stopped at any time, and CancelResponseFunction then reads the table. It starts after the
        # stop. So either it reads this id, or this write comes after the stop and `is_waiting` returns False.
        add_response(task["execution_arn"], response.id)
        waiting = is_waiting(task["task_token"])
    except Exception:
        # The execution fails, so nobody waits for this response.
        try:
            cancel(response.id)
        except APIError:
            logger.warning("Response not canceled", response_id=response.id)
        raise
    if waiting:
        logger.info("Response started", response_id=response.id)
    else:
        # Stopped, timed out, or the response has already completed the task.
        logger.info("The task ended during the start", response_id=response.id)
        cancel(response.id)


def request_body(request: Any, task_token: str) -> dict[str, Any]:
    """Return the body of `responses.create` for an input of the workflow. Raises InvalidInput."""
    if not isinstance(request, dict) or not isinstance(request.get("metadata") or {}, dict):
        raise InvalidInput(
            "The input is the body of OpenAI's responses.create: a JSON object, and its metadata is one too."
        )
    if request.get("stream"):
        raise InvalidInput("The workflow waits for the end of the response, so it cannot stream. Remove stream.")
    # Step Functions' console adds this key to the input of a nested workflow, and OpenAI refuses unknown keys.
    own = {key: value for key, value in request.items() if key != "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"}
    return own | {"background": True, "metadata": with_task_token(request.get("metadata"), task_token)}
