"""The token in the metadata, what the workflow learns about a response, and what is special in the template."""

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any, Final

import jsonschema
import openai
import pytest
from botocore.stub import Stubber
from hypothesis import given, strategies as st
from moto.events.models import EventPattern
from openai.types.responses import Response

from examples.tests.support.example_functions import SECONDS_FOR_AWS
from examples.tests.support.templates import EXAMPLES
from openai_webhooks import CATALOG
from response_outcome import Failure, failure_of, output_of
from task_token import InvalidInput, read_task_token, with_task_token
from tests.support.paths import ROOT

STACK: Final = EXAMPLES["wait-for-response"].defaults
STACK_ID: Final = "arn:aws:cloudformation:us-east-1:123456789012:stack/wait/6b9f2d10-1c5e-11f0-9f0b-0affc01d5a2b"
KEY: Final = "task_token_6b9f2d10-1c5e-11f0-9f0b-0affc01d5a2b_"
LIMIT: Final = 262_144
"""Bytes of a task's output: https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html"""
ASL_SCHEMA: Final = json.loads(
    (files("cfnlint") / "data/schemas/other/step_functions/statemachine.json").read_text(encoding="utf-8")
)


def response(status: str = "completed", *, text: str = "Hello.", **fields: Any) -> Response:
    """Return a response as the SDK returns it."""
    content = [{"type": "output_text", "text": text, "annotations": []}]
    message = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}
    return Response.construct(**{"id": "resp_1", "status": status, "output": [message], "usage": None} | fields)


# ---- The token in the metadata ----


@pytest.fixture(autouse=True, scope="module")
def stack_id() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("STACK_ID", STACK_ID)
        yield


@given(token=st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=2048))
def test_token_returns_from_metadata(token: str) -> None:
    metadata = with_task_token({"user": "42"}, token)

    assert read_task_token(metadata) == token
    assert metadata["user"] == "42"


@pytest.mark.parametrize(("length", "keys"), [(1, 1), (512, 1), (513, 2), (1536, 3), (1537, 4), (2048, 4)])
def test_token_uses_few_keys_of_allowed_length(length: int, keys: int) -> None:
    metadata = with_task_token(None, "t" * length)

    assert list(metadata) == [f"{KEY}{number}" for number in range(1, keys + 1)]
    assert max(map(len, metadata)) <= 64
    assert max(map(len, metadata.values())) <= 512


def test_metadata_fits_with_most_keys_and_longest_token() -> None:
    assert len(with_task_token({f"key_{number}": "" for number in range(12)}, "t" * 2048)) == 16


@pytest.mark.parametrize(
    "metadata",
    [
        pytest.param({f"key_{number}": "" for number in range(13)}, id="13 keys"),
        pytest.param({"task_token_1": "x"}, id="key of the token"),
        pytest.param({"task_token_mine": "x"}, id="prefix of the token"),
    ],
)
def test_metadata_without_room_for_token_is_refused(metadata: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        with_task_token(metadata, "token")


def test_users_metadata_is_not_changed() -> None:
    metadata = {"user": "42"}

    with_task_token(metadata, "token")

    assert metadata == {"user": "42"}


@pytest.mark.parametrize("metadata", [None, {}, {"user": "42"}, {"task_token": "x"}, {f"{KEY}1": ""}])
def test_other_metadata_has_no_token(metadata: dict[str, str] | None) -> None:
    assert read_task_token(metadata) is None


def test_token_of_another_stack_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = with_task_token(None, "token")

    monkeypatch.setenv("STACK_ID", STACK_ID.replace("6b9f2d10", "7c0a3e21"))

    assert read_task_token(metadata) is None


# ---- What the workflow learns about a response ----


FAILURES: Final[dict[str, tuple[dict[str, Any], Failure]]] = {
    "failed": (
        {"error": {"code": "server_error", "message": "Try again."}},
        Failure("ResponseFailed", "server_error: Try again."),
    ),
    "incomplete": (
        {"incomplete_details": {"reason": "max_output_tokens"}},
        Failure("ResponseIncomplete", "max_output_tokens"),
    ),
}


@pytest.mark.parametrize("status", FAILURES)
def test_openais_reason_is_cause(status: str) -> None:
    fields, failure = FAILURES[status]

    assert failure_of(response(status, **fields)) == failure


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("failed", "ResponseFailed"),
        ("cancelled", "ResponseCancelled"),
        ("incomplete", "ResponseIncomplete"),
    ],
)
def test_failure_without_reason_has_a_cause(status: str, error: str) -> None:
    failure = failure_of(response(status, error=None, incomplete_details=None))

    assert failure
    assert failure.error == error
    assert failure.cause


def test_completed_response_is_no_failure() -> None:
    assert failure_of(response()) is None


@pytest.mark.parametrize(
    "character",
    [
        pytest.param("x", id="1 byte"),
        pytest.param("é", id="2 bytes"),
        pytest.param("語", id="3 bytes"),
        pytest.param("😀", id="4 bytes"),
        pytest.param('"', id="escaped"),
        pytest.param("\ud83d", id="half of a pair"),
    ],
)
def test_text_is_left_out_above_limit_of_bytes(character: str) -> None:
    rest = len(output_of(response(text="")))
    size = len(output_of(response(text=character)).encode()) - rest
    longest = (LIMIT - rest) // size

    fits = output_of(response(text=character * longest))
    too_large = json.loads(output_of(response(text=character * (longest + 1))))

    assert LIMIT - size < len(fits.encode()) <= LIMIT
    assert "output_too_large" not in json.loads(fits)
    assert (too_large["output_text"], too_large["output_too_large"]) == (None, True)


# ---- The workflow ----


def workflow(**parameters: str) -> dict[str, Any]:
    """Return the definition of the workflow, as CloudFormation resolves it."""
    stack = EXAMPLES["wait-for-response"].at(**parameters) if parameters else STACK
    references = {
        "AWS::Partition": "aws",
        **{f"{name}.Arn": f"arn:aws:lambda:us-east-1:123456789012:function:{name}" for name in STACK.resources},
    }
    text = (ROOT / "examples/wait-for-response/workflow.asl.json").read_text()
    for name, value in stack.value(stack.properties("StateMachine")["DefinitionSubstitutions"], references).items():
        text = text.replace(f"${{{name}}}", str(value))
    definition: dict[str, Any] = json.loads(text)
    return definition


def test_workflow_is_valid_states_language() -> None:
    jsonschema.validate(workflow(), ASL_SCHEMA)


def test_workflow_waits_as_long_as_parameter_says() -> None:
    assert workflow()["States"]["WaitForResponse"]["TimeoutSeconds"] == 3600
    assert workflow(ResponseTimeoutSeconds="5")["States"]["WaitForResponse"]["TimeoutSeconds"] == 5


def test_workflow_passes_token_execution_and_input() -> None:
    state = workflow()["States"]["WaitForResponse"]

    assert state["Parameters"]["Payload"] == {
        "task_token.$": "$$.Task.Token",
        "execution_arn.$": "$$.Execution.Id",
        "request.$": "$",
    }


def test_errors_that_pass_are_retried_6_times() -> None:
    [retry] = workflow()["States"]["WaitForResponse"]["Retry"]

    # Those of Lambda: https://docs.aws.amazon.com/step-functions/latest/dg/sfn-best-practices.html
    assert set(retry["ErrorEquals"]) == {
        *("Lambda.AWSLambdaException", "Lambda.SdkClientException"),
        *("Lambda.ServiceException", "Lambda.TooManyRequestsException"),
        *("APIConnectionError", "APITimeoutError", "InternalServerError", "RateLimitError"),
    }
    assert retry["MaxAttempts"] == 6


def test_timeout_cancels_response_and_fails() -> None:
    states = workflow()["States"]
    cancel, failed = states["CancelResponse"], states["ResponseTimedOut"]

    # Lambda then queues the invocation and retries it.
    assert cancel["Parameters"]["InvocationType"] == "Event"
    assert cancel["Next"] == "ResponseTimedOut"
    assert (failed["Type"], failed["Error"]) == ("Fail", "ResponseTimedOut")


def test_functions_outlast_their_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    # The modules create clients of AWS.
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("EXECUTIONS_TABLE_NAME", "executions")
    from background_responses import OPENAI  # noqa: PLC0415
    from start_response import _CLIENT  # noqa: PLC0415

    openai: Any = _CLIENT.timeout + 2 * OPENAI.timeout  # type: ignore[operator]  # start, cancel, retrieve; seconds
    aws = 3 * SECONDS_FOR_AWS  # the API key, the table, the task

    for function in STACK.of("Lambda::Function").values():
        assert function["Timeout"] > openai + aws


def test_retried_errors_exist() -> None:
    [retry] = workflow()["States"]["WaitForResponse"]["Retry"]
    own = [name for name in retry["ErrorEquals"] if not name.startswith("Lambda.")]

    assert own == [name for name in own if issubclass(getattr(openai, name), openai.APIError)]


def test_timeout_is_caught_and_not_retried() -> None:
    state = workflow()["States"]["WaitForResponse"]

    assert not {"States.ALL", "States.TaskFailed", "States.Timeout"} & set(state["Retry"][0]["ErrorEquals"])
    assert state["Catch"] == [{"ErrorEquals": ["States.Timeout"], "Next": "CancelResponse"}]


def test_rule_and_workflow_pass_same_fields_to_canceling_function() -> None:
    [target] = STACK.properties("CancelResponseFunctionRule")["Targets"]
    transformer = target["InputTransformer"]
    from_rule = json.loads(transformer["InputTemplate"].replace("<execution>", '"ARN"'))
    from_workflow = workflow()["States"]["CancelResponse"]["Parameters"]["Payload"]

    assert transformer["InputPathsMap"] == {"execution": "$.detail.executionArn"}
    assert from_rule == {"detail": {"executionArn": "ARN"}}
    assert from_workflow == {"detail": {"executionArn.$": "$$.Execution.Id"}}


# ---- The rules ----


@pytest.mark.parametrize("event_type", [*CATALOG, "response.paused"])
def test_ends_of_responses_reach_function(event_type: str) -> None:
    ends = {"response.completed", "response.failed", "response.cancelled", "response.incomplete"}
    event = {"source": "openai.com", "detail-type": event_type, "detail": {"type": event_type}}

    assert matches("OnResponseEndedFunctionRule", event) == (event_type in ends)


@pytest.mark.parametrize("status", ["RUNNING", "SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED", "PENDING_REDRIVE"])
def test_executions_without_result_reach_canceling_function(status: str) -> None:
    without_result = {"TIMED_OUT", "ABORTED", "FAILED"}

    assert matches("CancelResponseFunctionRule", status_change(status)) == (status in without_result)


def test_executions_of_other_workflows_reach_nothing() -> None:
    assert not matches("CancelResponseFunctionRule", status_change("ABORTED", "another"))


def status_change(status: str, workflow: str = "StateMachine") -> dict[str, Any]:
    return {
        "source": "aws.states",
        "detail-type": "Step Functions Execution Status Change",
        "detail": {"status": status, "stateMachineArn": workflow, "executionArn": "ARN"},
    }


def matches(rule: str, event: Any) -> bool:
    pattern = STACK.value(STACK.properties(rule)["EventPattern"])
    return bool(EventPattern.load(json.dumps(pattern)).matches_event(event))


def test_responses_are_read_consistently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("EXECUTIONS_TABLE_NAME", "executions")
    import execution_table  # noqa: PLC0415  # the module creates a client

    # moto, which the other tests use, reads consistently without this.
    with Stubber(execution_table._DYNAMODB) as dynamodb:
        request = {"TableName": execution_table._NAME, "Key": {"execution_arn": {"S": "arn"}}, "ConsistentRead": True}
        dynamodb.add_response("get_item", {"Item": {"response_ids": {"SS": ["resp_1"]}}}, request)

        assert execution_table.response_ids("arn") == ["resp_1"]


def test_rule_for_stopped_executions_is_on_default_bus() -> None:
    assert "EventBusName" not in STACK.properties("CancelResponseFunctionRule")


# ---- Permissions ----


def test_functions_have_least_privilege() -> None:
    table, workflow_arn = {"Fn::GetAtt": ["ExecutionsTable", "Arn"]}, {"Ref": "StateMachine"}

    assert allowed("StartResponseFunction") == {
        "dynamodb:UpdateItem": table,
        "states:SendTaskHeartbeat": workflow_arn,
    }
    assert allowed("OnResponseEndedFunction") == {
        "states:SendTaskSuccess": workflow_arn,
        "states:SendTaskFailure": workflow_arn,
    }
    assert allowed("CancelResponseFunction") == {"dynamodb:GetItem": table}


def test_workflow_invokes_only_its_functions() -> None:
    functions = [{"Fn::GetAtt": [name, "Arn"]} for name in ("StartResponseFunction", "CancelResponseFunction")]

    assert allowed("StateMachine") == {"lambda:InvokeFunction": functions}


def allowed(name: str) -> dict[str, Any]:
    """Return the actions that a role may take, with their resources, except those for the dead-letter queue."""
    role = f"{name}Role"
    policies = STACK.properties(role).get("Policies", []) + [
        policy for policy in STACK.of("IAM::Policy").values() if policy["Roles"] == [{"Ref": role}]
    ]
    statements = [statement for policy in policies for statement in policy["PolicyDocument"]["Statement"]]
    return {
        action: statement["Resource"]
        for statement in statements
        for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        if action != "sqs:SendMessage"
    }


def test_workflow_logs_no_input() -> None:
    assert "LoggingConfiguration" not in STACK.properties("StateMachine")
