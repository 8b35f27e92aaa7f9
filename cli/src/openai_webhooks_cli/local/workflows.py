"""Step Functions workflows: moto's own interpreter of Amazon States Language, with this machine's functions.

Import this module only if a stack has a workflow: moto's interpreter takes a third of a second to import.
"""

import io
import json
import logging
import uuid
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError
from moto.core.config import default_user_config
from moto.stepfunctions.parser.api import ExecutionStatus
from moto.stepfunctions.parser.asl.component.state.exec.state_task import lambda_eval_utils
from moto.stepfunctions.parser.asl.eval.callback.callback import CallbackEndpoint
from moto.stepfunctions.parser.backend.execution import BaseExecutionWorkerCommunication, Execution
from moto.stepfunctions.parser.models import StepFunctionsParserBackend

from openai_webhooks_cli.local.event_bridge import function_name
from openai_webhooks_cli.local.function_pool import FunctionFailed
from openai_webhooks_cli.local.moto_aws import MotoAws
from openai_webhooks_cli.local.sam_template import ACCOUNT

Invoke = Callable[[str, Any], Any]
"""Invokes a function, by its name, with an event. Raises FunctionFailed."""

# By default, moto stores workflows and does not run them. It logs each failed task at length.
default_user_config["stepfunctions"] = {"execute_state_machine": True}
logging.getLogger("moto.stepfunctions").setLevel(logging.CRITICAL)

_notify_declared_heartbeat = CallbackEndpoint.notify_heartbeat
_start_execution = StepFunctionsParserBackend.start_execution
_end_execution = BaseExecutionWorkerCommunication.terminated
_stop_execution = Execution.stop


def _start_with_name(backend: Any, arn: str, name: str | None = None, *arguments: Any) -> Any:
    """Start an execution. Without a name, moto gives all executions the same ARN."""
    return _start_execution(backend, arn, name or str(uuid.uuid4()), *arguments)


def _notify_heartbeat(task: CallbackEndpoint) -> bool:
    """Return whether a task waits. moto knows it only for tasks with HeartbeatSeconds."""
    return _notify_declared_heartbeat(task) or task.get_outcome() is None


CallbackEndpoint.notify_heartbeat = _notify_heartbeat  # type: ignore[assignment,method-assign]
StepFunctionsParserBackend.start_execution = _start_with_name  # type: ignore[assignment,method-assign]


class InvalidWorkflow(Exception):
    """moto refuses the definition of a workflow. The text has its reason."""


def create(aws: MotoAws, name: str, definition: str) -> str:
    """Create a state machine from its definition in JSON. Return its ARN. Raises InvalidWorkflow."""
    role = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    try:
        created = aws.client("stepfunctions").create_state_machine(name=name, definition=definition, roleArn=role)
    except ClientError as error:
        raise InvalidWorkflow(error.response["Error"].get("Message")) from None
    return str(created["stateMachineArn"])


def connect(aws: MotoAws, invoke: Invoke, on_end: Callable[[str], object]) -> None:
    """Let tasks call functions by `invoke`. moto itself would call Lambda at a port where nothing listens.

    When an execution ends, its event appears on the default bus, and `on_end` is called with a text about it.
    """
    lambda_eval_utils.boto_client_for = lambda **_: _Lambda(invoke)  # type: ignore[assignment,attr-defined]
    events = aws.client("events")

    def report(execution: Execution) -> None:
        described = execution.to_describe_output()
        detail = {name: described[name] for name in ("executionArn", "stateMachineArn", "name", "status")}
        entry = {"Source": "aws.states", "DetailType": "Step Functions Execution Status Change"}
        events.put_events(Entries=[entry | {"Detail": json.dumps(detail)}])
        result = described.get("output") or ": ".join(filter(None, (execution.error, execution.cause)))
        on_end(f"{execution.state_machine.name} {execution.status}  {result}".rstrip())

    def end(worker: BaseExecutionWorkerCommunication) -> None:
        execution = worker.execution
        was_stopped = execution.exec_status == ExecutionStatus.ABORTED
        _end_execution(worker)
        if was_stopped:
            execution.exec_status, execution.error, execution.cause = ExecutionStatus.ABORTED, None, None
        else:
            report(execution)

    def stop(execution: Execution, *arguments: Any, **options: Any) -> None:
        # moto stops an execution only when the task that waits has ended.
        _stop_execution(execution, *arguments, **options)
        execution.exec_status = ExecutionStatus.ABORTED
        report(execution)

    BaseExecutionWorkerCommunication.terminated = end  # type: ignore[assignment,method-assign]
    Execution.stop = stop  # type: ignore[assignment,method-assign]


class _Lambda:
    """The part of boto3's Lambda client that moto's interpreter uses."""

    def __init__(self, invoke: Invoke) -> None:
        self._invoke = invoke

    def invoke(self, **parameters: Any) -> dict[str, Any]:
        name = function_name(parameters["FunctionName"])
        try:
            result, failure = self._invoke(name, json.loads(parameters["Payload"])), {}
        except FunctionFailed as error:
            error_type, _, message = str(error).partition(": ")
            result, failure = {"errorType": error_type, "errorMessage": message}, {"FunctionError": "Unhandled"}
        return {"StatusCode": 200, "Payload": io.BytesIO(json.dumps(result).encode()), **failure}
