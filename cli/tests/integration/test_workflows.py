"""Step Functions workflows of subscribers' stacks, in the local system."""

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pytest

from openai_webhooks_cli import samples
from openai_webhooks_cli.local.local_system import LocalSystem
from tests.support.background import wait_until
from tests.support.paths import ROOT

TEMPLATE: Final = """
Transform: AWS::Serverless-2016-10-31
Globals:
  Function: { CodeUri: code/, Runtime: python3.13 }
Resources:
  DoubleFunction:
    Type: AWS::Serverless::Function
    Properties: { Handler: work.double }
  FailFunction:
    Type: AWS::Serverless::Function
    Properties: { Handler: work.fail }
  IdleFunction:
    Type: AWS::Serverless::Function
    Properties: { Handler: work.double }
  Double:
    Type: AWS::Serverless::StateMachine
    Properties:
      Role: arn:aws:iam::123456789012:role/x
      Definition:
        StartAt: Work
        States:
          Work:
            Type: Task
            Resource: arn:aws:states:::lambda:invoke
            Parameters: { FunctionName: !GetAtt DoubleFunction.Arn, Payload.$: $ }
            OutputPath: $.Payload
            End: true
  Fail:
    Type: AWS::Serverless::StateMachine
    Properties:
      Role: arn:aws:iam::123456789012:role/x
      DefinitionUri: fail.asl.json
      DefinitionSubstitutions: { Function: !Ref FailFunction }
  Broken:
    Type: AWS::Serverless::StateMachine
    Properties: { Role: "arn:aws:iam::123456789012:role/x", Definition: { StartAt: Nowhere } }
"""
FAIL: Final = {
    "StartAt": "Work",
    "States": {
        "Work": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": "${Function}", "Payload": {}},
            "ResultPath": None,
            "End": True,
        }
    },
}
CODE: Final = """
def double(event, context):
    return {"value": event["value"] * 2}

def fail(event, context):
    raise KeyError("planted")
"""


class Running(NamedTuple):
    """A local system with stacks of a user, and what it reported."""

    system: LocalSystem
    problems: list[str]
    ends: list[str]

    def start(self, workflow: str, value: Any) -> str:
        """Start an execution. Return its ARN."""
        client = self.system.aws.client("stepfunctions")
        [arn] = [arn for arn in self.system.workflows if arn.endswith(f"-{workflow}")]
        return str(client.start_execution(stateMachineArn=arn, input=json.dumps(value))["executionArn"])

    def execute(self, workflow: str, value: Any) -> dict[str, Any]:
        """Run a workflow to its end. Return the description of the execution."""
        client, execution = self.system.aws.client("stepfunctions"), self.start(workflow, value)

        def ended() -> dict[str, Any] | None:
            description: dict[str, Any] = client.describe_execution(executionArn=execution)
            return None if description["status"] == "RUNNING" else description

        return wait_until(ended, "the end of the execution") or {}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder, problems, ends = tmp_path_factory.mktemp("own"), list[str](), list[str]()
    (folder / "code").mkdir()
    (folder / "code/work.py").write_text(CODE)
    (folder / "fail.asl.json").write_text(json.dumps(FAIL))
    (folder / "template.yaml").write_text(TEMPLATE)
    templates = [folder / "template.yaml", ROOT / "examples/wait-for-response/template.yaml"]
    logs = tmp_path_factory.mktemp("logs")
    with LocalSystem(
        secret=samples.new_secret(),
        logs=logs,
        templates=templates,
        on_problem=problems.append,
        on_workflow_end=ends.append,
    ) as system:
        yield Running(system, problems, ends)


def test_workflow_calls_function(running: Running) -> None:
    executions = [running.execute("Double", {"value": value}) for value in (1, 2)]

    assert [json.loads(execution["output"]) for execution in executions] == [{"value": 2}, {"value": 4}]


def test_error_of_function_fails_execution(running: Running) -> None:
    execution = running.execute("Fail", {})

    assert (execution["status"], execution["error"]) == ("FAILED", "KeyError")
    assert "planted" in json.loads(execution["cause"])["errorMessage"]
    assert any(problem.startswith("Fail failed: KeyError") for problem in running.problems)


def test_what_does_not_run_is_named(running: Running) -> None:
    problems = "\n".join(running.problems)

    assert "Broken does not run here" in problems
    assert "IdleFunction (nothing invokes it)" in problems
    assert "DoubleFunction" not in problems


def test_workflow_waits_for_response(running: Running) -> None:
    execution = running.execute("StateMachine", {"model": "gpt-5", "input": "Hello"})

    output = json.loads(execution["output"])
    assert (output["status"], bool(output["output_text"])) == ("completed", True)
    assert running.system.openai.responses[output["response_id"]]["background"]


def test_ends_of_executions_are_reported(running: Running) -> None:
    running.execute("Double", {"value": 1_001})
    running.execute("Fail", {})

    for line in (r'own.*-Double SUCCEEDED  {"value":2002}', r"own.*-Fail FAILED  KeyError: .*"):
        # An execution can be described as ended before its end is reported.
        wait_until(lambda: [end for end in running.ends if re.fullmatch(line, end)], line)  # noqa: B023  # called at once


def test_response_can_fail(running: Running) -> None:
    execution = running.execute("StateMachine", {"input": "Hello", "metadata": {"stand_in": "failed"}})

    assert (execution["status"], execution["error"]) == ("FAILED", "ResponseFailed")


def test_stop_cancels_response(running: Running) -> None:
    responses = running.system.openai.responses
    before = set(responses)
    execution = running.start("StateMachine", {"model": "gpt-5", "input": "Hello"})
    [started] = wait_until(lambda: responses.keys() - before, "a response")

    running.system.aws.client("stepfunctions").stop_execution(executionArn=execution)

    wait_until(lambda: responses[started]["status"] == "cancelled", "the cancellation")
    execution_of = running.system.aws.client("stepfunctions").describe_execution
    wait_until(lambda: execution_of(executionArn=execution)["status"] == "ABORTED", "the end")
    assert sum("ABORTED" in end for end in running.ends) == 1
