"""Functions in processes of their own."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from openai_webhooks_cli.local.function_pool import Function, FunctionPool

CODE = """
import os

def handler(event, context):
    print("handling", event)
    return {
        "event": event / 1,
        "environment": dict(os.environ),
        "name": context.function_name,
        "time": context.get_remaining_time_in_millis(),
    }
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FunctionPool]:
    folder = tmp_path_factory.mktemp("function")
    (folder / "module.py").write_text(CODE)
    function = Function(
        name="SampleFunction",
        code=folder,
        handler="module.handler",
        timeout=9,
        memory=128,
        environment={"AWS_REGION": "us-east-1"},
        inbox=None,
    )
    with closing(FunctionPool(function, log=folder / "log")) as pool:
        pool.wait_until_ready()
        yield pool


def test_function_gets_event_environment_and_context(pool: FunctionPool) -> None:
    answer = pool.invoke(7).result()

    assert (answer["event"], answer["name"]) == (7, "SampleFunction")
    assert answer["environment"] == {"AWS_REGION": "us-east-1"}
    assert 0 < answer["time"] <= 9000


def test_exception_reaches_caller(pool: FunctionPool) -> None:
    with pytest.raises(TypeError):
        pool.invoke("x").result()


def test_output_goes_to_log(pool: FunctionPool) -> None:
    pool.invoke(8).result()

    assert "handling 8\n" in (pool.function.code / "log").read_text()
