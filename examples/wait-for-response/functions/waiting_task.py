"""The workflow's task that waits for a response. The execution resumes when the task ends."""

import boto3

from openai_webhooks_subscriber.aws import CONFIG

_STEP_FUNCTIONS = boto3.client("stepfunctions", config=CONFIG)

# The task has ended, or its execution was stopped or timed out.
_ENDED = (
    _STEP_FUNCTIONS.exceptions.InvalidToken,
    _STEP_FUNCTIONS.exceptions.TaskDoesNotExist,
    _STEP_FUNCTIONS.exceptions.TaskTimedOut,
)
_MAX_CAUSE = 32_768  # characters


def is_waiting(token: str) -> bool:
    """Return whether the task still waits."""
    try:
        _STEP_FUNCTIONS.send_task_heartbeat(taskToken=token)
    except _ENDED:
        return False
    return True


def succeed(token: str, output: str) -> bool:
    """End the task with an output: JSON. Return False if the task has ended before."""
    try:
        _STEP_FUNCTIONS.send_task_success(taskToken=token, output=output)
    except _ENDED:
        return False
    return True


def fail(token: str, error: str, cause: str) -> bool:
    """End the task with an error. Return False if the task has ended before."""
    try:
        _STEP_FUNCTIONS.send_task_failure(taskToken=token, error=error, cause=cause[:_MAX_CAUSE])
    except _ENDED:
        return False
    return True
