"""Step Functions workflows of subscribers' stacks, in the local system."""

import json
import re
from collections.abc import Iterator
from typing import Final

import pytest

from cli.tests.support.workflows import Running
from openai_webhooks_cli import samples
from openai_webhooks_cli.local.local_system import LocalSystem
from tests.support.background import wait_until

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


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder, problems, ends = tmp_path_factory.mktemp("own"), list[str](), list[str]()
    (folder / "code").mkdir()
    (folder / "code/work.py").write_text(CODE)
    (folder / "fail.asl.json").write_text(json.dumps(FAIL))
    (folder / "template.yaml").write_text(TEMPLATE)
    with LocalSystem(
        secret=samples.new_secret(),
        logs=tmp_path_factory.mktemp("logs"),
        templates=[folder / "template.yaml"],
        on_problem=problems.append,
        on_workflow_end=ends.append,
    ) as system:
        yield Running(system, problems, ends)


def test_workflow_calls_function(running: Running) -> None:
    executions = [running.execute("Double", {"value": value}) for value in (1, 2)]

    assert [json.loads(execution["output"]) for execution in executions] == [{"value": 2}, {"value": 4}]
    wait_for_end(running, r'own.*-Double SUCCEEDED  {"value":4}')


def test_error_of_function_fails_execution(running: Running) -> None:
    execution = running.execute("Fail", {})

    assert (execution["status"], execution["error"]) == ("FAILED", "KeyError")
    assert "planted" in json.loads(execution["cause"])["errorMessage"]
    assert any(problem.startswith("Fail failed: KeyError") for problem in running.problems)
    wait_for_end(running, r"own.*-Fail FAILED  KeyError: .*")


def wait_for_end(running: Running, line: str) -> None:
    """Wait until an end is reported. An execution can be described as ended before."""
    wait_until(lambda: [end for end in running.ends if re.fullmatch(line, end)], line)


def test_what_does_not_run_is_named(running: Running) -> None:
    problems = "\n".join(running.problems)

    assert "Broken does not run here" in problems
    assert "IdleFunction (nothing that runs here invokes it)" in problems
    assert "DoubleFunction" not in problems
