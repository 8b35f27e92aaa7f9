"""What is special in the workflow and its template. examples/tests/ checks what all examples have in common."""

import json
from importlib.resources import files
from typing import Any, Final

import jsonschema
import openai
import pytest
from botocore.stub import Stubber

from examples.tests.support.example_functions import SECONDS_FOR_AWS
from examples.tests.support.templates import EXAMPLES, permissions, reached
from openai_webhooks import CATALOG
from tests.support.paths import ROOT

EXAMPLE: Final = "wait-for-response"
STACK: Final = EXAMPLES[EXAMPLE].defaults
ASL_SCHEMA: Final = json.loads(
    (files("cfnlint") / "data/schemas/other/step_functions/statemachine.json").read_text(encoding="utf-8")
)


def states(**parameters: str) -> dict[str, Any]:
    """Return the states of the workflow, as CloudFormation resolves it. Its definition is valid."""
    stack = EXAMPLES[EXAMPLE].at(**parameters)
    references = {
        "AWS::Partition": "aws",
        **{f"{name}.Arn": f"arn:aws:lambda:us-east-1:123456789012:function:{name}" for name in STACK.resources},
    }
    text = (ROOT / "examples" / EXAMPLE / "workflow.asl.json").read_text()
    for name, value in stack.value(stack.properties("StateMachine")["DefinitionSubstitutions"], references).items():
        text = text.replace(f"${{{name}}}", str(value))
    definition: dict[str, Any] = json.loads(text)
    jsonschema.validate(definition, ASL_SCHEMA)
    found: dict[str, Any] = definition["States"]
    return found


def test_workflow_waits_as_long_as_parameter_says() -> None:
    for seconds in (3600, 5):
        state = states(ResponseTimeoutSeconds=str(seconds))["WaitForResponse"]

        assert state["TimeoutSeconds"] == seconds
        assert state["Resource"].endswith(":lambda:invoke.waitForTaskToken")
        assert state["Parameters"]["Payload"] == {
            "task_token.$": "$$.Task.Token",
            "execution_arn.$": "$$.Execution.Id",
            "request.$": "$",
        }


def test_only_errors_that_pass_are_retried() -> None:
    [retry] = states()["WaitForResponse"]["Retry"]
    of_openai = {name for name in retry["ErrorEquals"] if not name.startswith("Lambda.")}

    assert of_openai == {"APIConnectionError", "APITimeoutError", "InternalServerError", "RateLimitError"}
    assert all(issubclass(getattr(openai, name), openai.APIError) for name in of_openai)
    # https://docs.aws.amazon.com/step-functions/latest/dg/sfn-best-practices.html
    assert set(retry["ErrorEquals"]) - of_openai == {
        *("Lambda.AWSLambdaException", "Lambda.SdkClientException"),
        *("Lambda.ServiceException", "Lambda.TooManyRequestsException"),
    }
    assert retry["MaxAttempts"] == 6


def test_timeout_cancels_response_and_fails() -> None:
    found = states()

    assert found["WaitForResponse"]["Catch"] == [{"ErrorEquals": ["States.Timeout"], "Next": "CancelResponse"}]
    # Lambda then queues the invocation and retries it.
    assert found["CancelResponse"]["Parameters"]["InvocationType"] == "Event"
    assert found["CancelResponse"]["Next"] == "ResponseTimedOut"
    assert (found["ResponseTimedOut"]["Type"], found["ResponseTimedOut"]["Error"]) == ("Fail", "ResponseTimedOut")


def test_rule_and_workflow_pass_same_fields_to_canceling_function() -> None:
    [target] = STACK.properties("CancelResponseFunctionRule")["Targets"]
    transformer = target["InputTransformer"]

    assert transformer["InputPathsMap"] == {"execution": "$.detail.executionArn"}
    assert json.loads(transformer["InputTemplate"].replace("<execution>", '"ARN"')) == {
        "detail": {"executionArn": "ARN"}
    }
    assert states()["CancelResponse"]["Parameters"]["Payload"] == {"detail": {"executionArn.$": "$$.Execution.Id"}}


def test_functions_outlast_their_calls(modules: None) -> None:
    from background_responses import OPENAI  # noqa: PLC0415
    from start_response import _CLIENT  # noqa: PLC0415

    openai: Any = _CLIENT.timeout + 2 * OPENAI.timeout  # type: ignore[operator]  # start, cancel, retrieve; seconds
    aws = 3 * SECONDS_FOR_AWS  # the API key, the table, the task

    for function in STACK.of("Lambda::Function").values():
        assert function["Timeout"] > openai + aws


def test_responses_are_read_consistently(modules: None) -> None:
    import execution_table  # noqa: PLC0415

    # moto, which the other tests use, reads consistently without this.
    with Stubber(execution_table._DYNAMODB) as dynamodb:
        request = {"TableName": execution_table._NAME, "Key": {"execution_arn": {"S": "arn"}}, "ConsistentRead": True}
        dynamodb.add_response("get_item", {"Item": {"response_ids": {"SS": ["resp_1"]}}}, request)

        assert execution_table.response_ids("arn") == ["resp_1"]


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that the functions' modules need. They create clients of AWS."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("EXECUTIONS_TABLE_NAME", "executions")


def test_only_ends_of_responses_reach_function() -> None:
    assert {name for name in [*CATALOG, "response.paused"] if reached(STACK, name)} == {
        *("response.completed", "response.failed", "response.cancelled", "response.incomplete"),
    }


def test_only_executions_of_workflow_without_result_reach_canceling_function() -> None:
    statuses = ["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE"]
    change = {"event_type": "Step Functions Execution Status Change", "source": "aws.states"}
    for workflow, canceled in {"StateMachine": ["FAILED", "TIMED_OUT", "ABORTED"], "another": []}.items():
        details = {status: {"status": status, "stateMachineArn": workflow} for status in statuses}

        assert [status for status in statuses if reached(STACK, **change, detail=details[status])] == canceled
    # AWS's own events are on the default bus.
    assert "EventBusName" not in STACK.properties("CancelResponseFunctionRule")


def test_functions_and_workflow_have_least_privilege() -> None:
    table, workflow = {"Fn::GetAtt": ["ExecutionsTable", "Arn"]}, {"Ref": "StateMachine"}
    functions = [{"Fn::GetAtt": [name, "Arn"]} for name in ("StartResponseFunction", "CancelResponseFunction")]

    assert {name: permissions(STACK, name) for name in (*STACK.of("Lambda::Function"), "StateMachine")} == {
        "StartResponseFunction": {"dynamodb:UpdateItem": table, "states:SendTaskHeartbeat": workflow},
        "OnResponseEndedFunction": {"states:SendTaskSuccess": workflow, "states:SendTaskFailure": workflow},
        "CancelResponseFunction": {"dynamodb:GetItem": table},
        "StateMachine": {"lambda:InvokeFunction": functions},
    }


def test_workflow_logs_no_input() -> None:
    assert "LoggingConfiguration" not in STACK.properties("StateMachine")
