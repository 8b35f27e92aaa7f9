"""The deployed workflow: an execution waits for its response, and resumes when the receiver gets OpenAI's event."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from uuid import uuid4

import pytest

from evidence.deployment.ministack import Deployed
from evidence.deployment.stacks import PUBLISHED, signed
from openai_webhooks_cli.local.openai_stand_in import OpenAIStandIn
from tests.support.background import wait_until

EXAMPLE: Final = "wait-for-response"
INPUT: Final = {"model": "gpt-6.1-sol", "input": "Say hello."}


@dataclass(frozen=True)
class Execution:
    """An execution whose response has started."""

    stack: Deployed
    arn: str
    response: dict[str, Any]
    """As OpenAI sees it now."""

    def stop(self) -> None:
        self.stack.aws.client("stepfunctions").stop_execution(executionArn=self.arn)

    def result(self) -> dict[str, Any]:
        """Return the description of the execution, after its end."""
        return wait_until(self._ended, f"the end of {self.arn}", seconds=30)

    def _ended(self) -> dict[str, Any]:
        described: dict[str, Any] = self.stack.aws.client("stepfunctions").describe_execution(executionArn=self.arn)
        return {} if described["status"] == "RUNNING" else described


def start(stack: Deployed, openai: OpenAIStandIn) -> Execution:
    """Start an execution, and wait until its response is recorded."""
    marker = uuid4().hex
    started = stack.aws.client("stepfunctions").start_execution(
        stateMachineArn=stack.outputs["StateMachineArn"],
        input=json.dumps(INPUT | {"metadata": {"marker": marker}}),
    )
    key = {"execution_arn": {"S": started["executionArn"]}}
    dynamodb, table = stack.aws.client("dynamodb"), stack.id_of("ExecutionsTable")
    record = wait_until(lambda: dynamodb.get_item(TableName=table, Key=key).get("Item"), "a response")
    [response_id] = record["response_ids"]["SS"]
    return Execution(stack, started["executionArn"], openai.responses[response_id])


def end_response(execution: Execution, openai: OpenAIStandIn, receiver: Deployed, status: str) -> None:
    """End the response, and deliver the event as OpenAI does."""
    openai.end_response(execution.response["id"], status)
    assert signed(f"response.{status}", id=execution.response["id"]).post(receiver.url) == PUBLISHED


@pytest.fixture(scope="module")
def stack(deploy_example: Callable[..., Deployed]) -> Deployed:
    return deploy_example(EXAMPLE)


def test_execution_returns_completed_response(stack: Deployed, openai: OpenAIStandIn, receiver: Deployed) -> None:
    execution = start(stack, openai)

    end_response(execution, openai, receiver, "completed")

    result = execution.result()
    assert result["status"] == "SUCCEEDED"
    assert json.loads(result["output"]) == {
        "response_id": execution.response["id"],
        "status": "completed",
        "output_text": execution.response["output"][0]["content"][0]["text"],
        "usage": execution.response["usage"],
    }


def test_execution_fails_with_openais_reason(stack: Deployed, openai: OpenAIStandIn, receiver: Deployed) -> None:
    execution = start(stack, openai)

    end_response(execution, openai, receiver, "failed")

    result, error = execution.result(), execution.response["error"]
    assert (result["status"], result["error"]) == ("FAILED", "ResponseFailed")
    assert result["cause"] == f"{error['code']}: {error['message']}"


def test_stopped_execution_cancels_its_response(stack: Deployed, openai: OpenAIStandIn) -> None:
    execution = start(stack, openai)

    execution.stop()

    wait_until(lambda: execution.response["status"] == "cancelled", "the cancellation")
    assert execution.result()["status"] == "ABORTED"


def test_timed_out_execution_cancels_its_response(
    stack: Deployed, deploy_example: Callable[..., Deployed], openai: OpenAIStandIn
) -> None:
    # The last test, because it updates the stack.
    execution = start(deploy_example(EXAMPLE, ResponseTimeoutSeconds="2"), openai)

    result = execution.result()
    assert (result["status"], result["error"]) == ("FAILED", "ResponseTimedOut")
    assert execution.response["status"] == "cancelled"
