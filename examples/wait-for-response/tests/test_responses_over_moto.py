"""The workflow's functions: what they do to OpenAI's responses and to the tasks of Step Functions."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any, Final
from uuid import uuid4

import pytest
from moto.core.exceptions import AWSError
from moto.core.responses import ActionResult, EmptyResult
from moto.stepfunctions.responses import StepFunctionResponse

from examples.tests.support.example_functions import aws_client, create_table, delivered, started, store_api_key
from examples.tests.support.templates import EXAMPLES
from openai_webhooks_cli.local.function_pool import FunctionFailed, FunctionPool
from openai_webhooks_cli.local.openai_stand_in import API_KEY, OpenAIRequest, OpenAIStandIn, RefusedError
from tests.support.faulty_proxy import FaultyProxy
from tests.support.moto_stack import moto_server

EXAMPLE: Final = "wait-for-response"
TABLE: Final = "executions-of-wait-for-response"
KEY_NAME: Final = "key-of-wait-for-response"
PROMPT: Final = "A prompt that no log may contain."
ANSWER: Final = "An answer that no log may contain."
STACK_ID: Final = "arn:aws:cloudformation:us-east-1:123456789012:stack/wait/6b9f2d10"
TOKEN_LENGTH: Final = 1_100
"""Real tokens have about 700 characters, and up to 2,048."""


@dataclass
class Tasks:
    """A stand-in for the tasks of Step Functions, so that a test decides when a task ends."""

    waiting: set[str] = field(default_factory=set)
    ended: dict[str, dict[str, str]] = field(default_factory=dict)
    """How functions ended tasks: the parameters of their calls."""
    closed_as: str = "TaskTimedOut"
    """The error for a token of a task that has ended."""
    before_heartbeat: Callable[[], object] = lambda: None
    after_heartbeat: Callable[[], object] = lambda: None
    """Called before the answer is sent."""

    def answer(self, request: StepFunctionResponse, *names: str) -> ActionResult:
        """Answer a request of a function. `names` are its parameters: none are a heartbeat's."""
        token = str(request._get_param("taskToken"))
        if not names:
            self.before_heartbeat()
        if token not in self.waiting:
            raise AWSError("The task does not wait.", self.closed_as)
        if names:
            self.waiting.remove(token)
            self.ended[token] = {name: request._get_param(name) for name in names}
        else:
            self.after_heartbeat()
        return EmptyResult()


@dataclass
class System:
    """The three functions, and the services that they call."""

    openai: OpenAIStandIn
    dynamodb: Any
    tasks: Tasks
    starting: FunctionPool
    ending: FunctionPool
    canceling: FunctionPool

    def new_task(self, **request: Any) -> dict[str, Any]:
        """Return what the workflow passes to the function that starts a response."""
        token = (uuid4().hex * 64)[:TOKEN_LENGTH]
        self.tasks.waiting.add(token)
        return {
            "task_token": token,
            "execution_arn": f"arn:aws:states:us-east-1:123456789012:execution:workflow:{uuid4()}",
            "request": {"model": "gpt-6.1-sol", "input": PROMPT} | request,
        }

    def start(self, task: dict[str, Any]) -> str:
        """Start a response. Return its id."""
        self.starting.invoke(task)
        return self.responses_of(task)[-1]

    def responses_of(self, task: dict[str, Any]) -> list[str]:
        """Return the responses that OpenAI has for a task, in the order of their start."""
        responses = list(self.openai.responses.values())
        return [str(response["id"]) for response in responses if token_of(response) == task["task_token"]]

    def end(self, response_id: str, status: str = "completed", **fields: Any) -> None:
        """End a response, and handle its event."""
        self.openai.end_response(response_id, status, **fields)
        self.handle_event(response_id, status)

    def handle_event(self, response_id: str, status: str = "completed") -> list[dict[str, Any]]:
        """Handle an event. Return the lines of the log."""
        return [json.loads(line) for line in self.ending.invoke(delivered(f"response.{status}", id=response_id)).log]

    def stop(self, task: dict[str, Any]) -> None:
        """Stop the execution, and handle the event of Step Functions."""
        self.tasks.waiting.discard(task["task_token"])
        log = self.canceling.invoke({"detail": {"executionArn": task["execution_arn"]}}).log
        assert {json.loads(line)["correlation_id"] for line in log} <= {task["execution_arn"]}

    def status(self, response_id: str) -> str:
        return str(self.openai.responses[response_id]["status"])

    def refuse_once(self, action: str, status: int) -> None:
        """Let OpenAI refuse the next request of this kind."""

        def refuse(request: OpenAIRequest) -> None:
            if request.action == action:
                self.openai.on_request = lambda _: None
                raise RefusedError(status, f"Refused: {PROMPT}")

        self.openai.on_request = refuse

    def requests(self, action: str) -> list[OpenAIRequest]:
        return [request for request in self.openai.requests if request.action == action]


def token_of(response: dict[str, Any]) -> str:
    metadata = response["metadata"] or {}
    return "".join(metadata.get(f"task_token_6b9f2d10_{number}", "") for number in range(1, 5))


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The settings of the functions: their services, and the values of the template."""
    with moto_server() as url, OpenAIStandIn() as openai:
        store_api_key(url, KEY_NAME)
        create_table(aws_client(url, "dynamodb"), EXAMPLE, "ExecutionsTable", TABLE)
        yield {
            "aws_url": url,
            "openai": openai,
            "logs": tmp_path_factory.mktemp("logs"),
            "references": {"ExecutionsTable": TABLE, "AWS::StackId": STACK_ID},
            "OpenAIApiKeySecretName": KEY_NAME,
        }


@pytest.fixture(scope="module")
def processes(where: dict[str, Any]) -> Iterator[System]:
    tasks = Tasks()
    calls = {"heartbeat": (), "success": ("output",), "failure": ("error", "cause")}
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        for name, parameters in calls.items():
            patch.setattr(
                StepFunctionResponse,
                f"send_task_{name}",
                lambda request, names=parameters: tasks.answer(request, *names),
            )
        functions = ("StartResponseFunction", "OnResponseEndedFunction", "CancelResponseFunction")
        pools = [stack.enter_context(started(EXAMPLE, name, **where)) for name in functions]
        yield System(where["openai"], aws_client(where["aws_url"], "dynamodb"), tasks, *pools)


@pytest.fixture
def system(processes: System) -> System:
    """The functions, without the settings of other tests."""
    processes.tasks.closed_as = "TaskTimedOut"
    processes.tasks.before_heartbeat = processes.tasks.after_heartbeat = lambda: None
    processes.openai.on_request = lambda _: None
    processes.openai.requests.clear()
    return processes


def test_completed_response_completes_task(system: System) -> None:
    task = system.new_task()
    response_id = system.start(task)
    assert system.status(response_id) == "queued"

    system.end(response_id)

    response = system.openai.responses[response_id]
    assert json.loads(system.tasks.ended[task["task_token"]]["output"]) == {
        "response_id": response_id,
        "status": "completed",
        "output_text": response["output"][0]["content"][0]["text"],
        "usage": response["usage"],
    }


LONG: Final = "x" * 40_000
ENDS: Final[list[tuple[str, dict[str, Any], str, str]]] = [
    ("failed", {"error": {"code": "server_error", "message": "No."}}, "ResponseFailed", "server_error: No."),
    ("failed", {"error": {"code": "c", "message": LONG}}, "ResponseFailed", f"c: {LONG}"[:32_768]),
    ("cancelled", {}, "ResponseCancelled", "The response was canceled."),
    ("incomplete", {"incomplete_details": {"reason": "content_filter"}}, "ResponseIncomplete", "content_filter"),
]


def test_other_end_fails_task(system: System) -> None:
    for status, fields, error, cause in ENDS:
        task = system.new_task()

        system.end(system.start(task), status, **fields)

        assert system.tasks.ended[task["task_token"]] == {"error": error, "cause": cause}


def test_request_is_sent_as_background_response(system: System) -> None:
    task = system.new_task(
        metadata={"user": "42"}, background=False, a_field_of_tomorrow=[1], extra_headers={"authorization": "none"}
    )
    # Step Functions' console adds a key that OpenAI would refuse.
    request_of_user = dict(task["request"])
    task["request"]["AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"] = "arn"

    system.start(task)

    [request] = system.requests("responses.create")
    tokens = {key for key in request.body["metadata"] if key != "user"}
    assert request.body == request_of_user | {"background": True, "metadata": request.body["metadata"]}
    assert request.body["metadata"]["user"] == "42"
    assert tokens == {f"task_token_6b9f2d10_{number}" for number in (1, 2, 3)}
    assert request.headers["Authorization"] == f"Bearer {API_KEY}"


def test_invalid_input_is_refused_before_request(system: System) -> None:
    objects = [{"metadata": {"task_token_1": "x"}}, {"metadata": "text"}, {"stream": True}]
    for request in [*objects, "Hello", ["Hello"], 7, None]:
        with pytest.raises(FunctionFailed, match=r"^InvalidInput: "):
            system.starting.invoke(system.new_task() | {"request": request})
    assert not system.requests("responses.create")


def test_event_before_end_of_start_completes_task(system: System) -> None:
    task = system.new_task()
    # The function that starts the response waits for the answer to its heartbeat.
    system.tasks.before_heartbeat = lambda: system.end(system.responses_of(task)[0])

    response_id = system.start(task)

    assert system.tasks.ended[task["task_token"]].keys() == {"output"}
    assert system.status(response_id) == "completed"


def test_event_after_end_of_task_changes_nothing(system: System) -> None:
    for closed_as, is_stopped in product(("TaskTimedOut", "TaskDoesNotExist", "InvalidToken"), (False, True)):
        task = system.new_task()
        response_id = system.start(task)
        if is_stopped:
            system.stop(task)
        else:
            system.end(response_id)
        before = dict(system.tasks.ended)

        system.tasks.closed_as = closed_as
        [line] = system.handle_event(response_id)

        assert (line["level"], line["response_id"]) == ("INFO", response_id), closed_as
        assert system.tasks.ended == before, closed_as


def test_response_decides_instead_of_event(system: System) -> None:
    task = system.new_task()
    response_id = system.start(task)
    with pytest.raises(FunctionFailed, match=r"^NotEnded: "):
        system.handle_event(response_id)

    system.openai.end_response(response_id, "completed")
    system.handle_event(response_id, "failed")

    assert system.tasks.ended[task["task_token"]].keys() == {"output"}


def test_stop_before_record_cancels_response(system: System) -> None:
    task = system.new_task()

    def stop_at_create(request: OpenAIRequest) -> None:
        if request.action == "responses.create":
            system.stop(task)
            assert not system.responses_of(task)

    system.openai.on_request = stop_at_create

    assert system.status(system.start(task)) == "cancelled"


def test_stop_between_record_and_end_of_start_cancels_response(system: System) -> None:
    for moment in ("before_heartbeat", "after_heartbeat"):
        task = system.new_task()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(system.tasks, moment, partial(system.stop, task))

            assert system.status(system.start(task)) == "cancelled", moment


def test_stop_cancels_responses_of_all_attempts(system: System) -> None:
    task = system.new_task()
    first = system.start(task)
    second = system.start(task)

    system.stop(task)

    assert {system.status(first), system.status(second)} == {"cancelled"}
    assert first != second


def test_failed_start_cancels_response_and_keeps_error(system: System) -> None:
    for is_cancellation_refused in (False, True):
        task = system.new_task()

        def refuse(*, refuse_cancellation: bool = is_cancellation_refused) -> None:
            if refuse_cancellation:
                system.refuse_once("responses.cancel", 503)
            raise AWSError("Not allowed.", "AccessDeniedException")

        system.tasks.before_heartbeat = refuse

        # The workflow would retry OpenAI's error, which means a second response.
        with pytest.raises(FunctionFailed, match="AccessDeniedException"):
            system.starting.invoke(task)

        [response_id] = system.responses_of(task)
        if is_cancellation_refused:
            # The execution fails, and its status event cancels what the table names.
            system.stop(task)
        assert system.status(response_id) == "cancelled"


def test_database_that_hangs_fails_start_and_cancels_response(system: System, where: dict[str, Any]) -> None:
    task = system.new_task()
    with closing(FaultyProxy(where["aws_url"])) as proxy:
        environment = {"AWS_ENDPOINT_URL_DYNAMODB": proxy.url}
        with started(EXAMPLE, "StartResponseFunction", environment=environment, **where) as starting:
            proxy.fail("hangs")
            with pytest.raises(FunctionFailed, match="ReadTimeoutError"):
                starting.invoke(task)

    assert [system.status(response_id) for response_id in system.responses_of(task)] == ["cancelled"]


def test_refused_cancellation_of_ended_response_is_fine(system: System) -> None:
    for status in (400, 409):
        task = system.new_task()
        response_id = system.start(task)
        system.openai.end_response(response_id)
        system.refuse_once("responses.cancel", status)

        system.stop(task)

        assert system.status(response_id) == "completed", status


def test_refused_cancellation_of_running_response_is_retried(system: System) -> None:
    task = system.new_task()
    response_id = system.start(task)
    system.refuse_once("responses.cancel", 400)

    with pytest.raises(FunctionFailed, match=r"^BadRequestError: "):
        system.stop(task)

    system.stop(task)
    assert system.status(response_id) == "cancelled"


def test_execution_without_response_needs_no_cancellation(system: System) -> None:
    system.stop(system.new_task())
    assert not system.requests("responses.cancel")

    task = system.new_task()
    del system.openai.responses[system.start(task)]
    system.stop(task)
    assert system.requests("responses.cancel")


def test_record_expires(system: System) -> None:
    task = system.new_task()
    system.start(task)

    key = {"execution_arn": {"S": task["execution_arn"]}}
    record = system.dynamodb.get_item(TableName=TABLE, Key=key)["Item"]
    longest = EXAMPLES[EXAMPLE].defaults.parameters["ResponseTimeoutSeconds"]["MaxValue"]
    created_at = system.requests("responses.create")[0].time
    # EventBridge retries for a day, and Lambda for 6 hours.
    assert int(record["expires_at"]["N"]) - created_at > int(longest) + 30 * 3600


def test_response_of_others_is_ignored(system: System) -> None:
    response_id = f"resp_{uuid4().hex}"
    system.openai.learn({"detail": {"type": "response.completed", "data": {"id": response_id}}})
    before = dict(system.tasks.ended)

    for other, level in {response_id: "INFO", "resp_unknown": "WARNING"}.items():
        [line] = system.handle_event(other)
        assert (line["level"], line["response_id"]) == (level, other)
    assert system.tasks.ended == before


def test_event_of_another_type_fails(system: System) -> None:
    for event_type in ("response.paused", "batch.completed"):
        event = delivered("response.completed")
        event["detail"]["type"] = event_type

        with pytest.raises(FunctionFailed, match=r"^UnexpectedEvent: "):
            system.ending.invoke(event)


def test_start_that_openai_refuses_can_be_retried(system: System) -> None:
    # Step Functions matches the class of the exception.
    for status, error in {429: "RateLimitError", 500: "InternalServerError"}.items():
        system.refuse_once("responses.create", status)
        first = system.new_task()
        with pytest.raises(FunctionFailed, match=f"^{error}: "):
            system.starting.invoke(first)
        assert not system.responses_of(first)

        second = system.new_task() | {"execution_arn": first["execution_arn"]}
        system.end(system.start(second))

        assert second["task_token"] in system.tasks.ended, status


def test_event_that_openai_does_not_answer_can_be_retried(system: System) -> None:
    task = system.new_task()
    response_id = system.start(task)
    system.refuse_once("responses.retrieve", 429)
    with pytest.raises(FunctionFailed, match=r"^RateLimitError: "):
        system.end(response_id)

    system.handle_event(response_id)

    assert task["task_token"] in system.tasks.ended


def test_wrong_api_key_fails_start_with_its_own_error(system: System, where: dict[str, Any]) -> None:
    # OpenAI's answer quotes the start and the end of the key.
    wrong = "sk-wrong-key-canary"
    store_api_key(where["aws_url"], "wrong-key", wrong)
    with (
        started(EXAMPLE, "StartResponseFunction", **where | {"OpenAIApiKeySecretName": "wrong-key"}) as starting,
        pytest.raises(FunctionFailed, match=r"^AuthenticationError: .*secret wrong-key ") as failure,
    ):
        starting.invoke(system.new_task())

    written = f"{failure.value}{failure.value.details}{failure.value.log}"
    assert not [part for part in (wrong[:8], wrong[-4:]) if part in written]


def test_logs_have_no_token_and_no_text(system: System, where: dict[str, Any]) -> None:
    task = system.new_task()
    system.end(system.start(task), "failed", error={"code": "server_error", "message": ANSWER})

    written = "".join(path.read_text() for path in where["logs"].glob("*.log"))
    assert task["execution_arn"] in written
    assert not [text for text in (task["task_token"][:64], PROMPT, ANSWER, API_KEY) if text in written]
