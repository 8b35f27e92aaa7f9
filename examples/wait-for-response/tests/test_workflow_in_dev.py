"""The workflow in the system that `openai-webhooks dev` runs, over the stand-in for OpenAI's API."""

import json
from collections.abc import Iterator

import pytest

from cli.tests.support.workflows import Running
from openai_webhooks_cli import samples
from openai_webhooks_cli.local.local_system import LocalSystem
from tests.support.background import wait_until
from tests.support.paths import ROOT


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    problems, ends = list[str](), list[str]()
    with LocalSystem(
        secret=samples.new_secret(),
        logs=tmp_path_factory.mktemp("logs"),
        templates=[ROOT / "examples/wait-for-response/template.yaml"],
        on_problem=problems.append,
        on_workflow_end=ends.append,
    ) as system:
        yield Running(system, problems, ends)


def test_workflow_waits_for_response(running: Running) -> None:
    execution = running.execute("StateMachine", {"model": "gpt-6.1-sol", "input": "Hello"})

    output = json.loads(execution["output"])
    assert (output["status"], bool(output["output_text"])) == ("completed", True)
    assert running.system.openai.responses[output["response_id"]]["background"]


def test_response_can_fail(running: Running) -> None:
    execution = running.execute(
        "StateMachine", {"model": "gpt-6.1-sol", "input": "Hello", "metadata": {"stand_in": "failed"}}
    )

    assert (execution["status"], execution["error"]) == ("FAILED", "ResponseFailed")


def test_stop_cancels_response(running: Running) -> None:
    responses = running.system.openai.responses
    before = set(responses)
    execution = running.start("StateMachine", {"model": "gpt-6.1-sol", "input": "Hello"})
    [started] = wait_until(lambda: responses.keys() - before, "a response")

    running.system.aws.client("stepfunctions").stop_execution(executionArn=execution)

    wait_until(lambda: responses[started]["status"] == "cancelled", "the cancellation")
    execution_of = running.system.aws.client("stepfunctions").describe_execution
    wait_until(lambda: execution_of(executionArn=execution)["status"] == "ABORTED", "the end")
    assert sum("ABORTED" in end for end in running.ends) == 1
