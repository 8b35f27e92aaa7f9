"""The built artifact, and nothing else, in Lambda's own runtime client and emulator."""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from typing import Any

import pytest
import requests
import time_machine

from tests.support import lambda_runtime
from tests.support.background import free_port, program, wait_until
from tests.support.moto_stack import MotoStack, moto_server
from tests.support.paths import ARTIFACT, ROOT
from tests.support.receiver_instance import EVENT_ID, OTHER_SECRET, Clock, ReceiverInstance, ids

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the runtime emulator runs only on Linux")

type Invoke = Callable[[dict[str, Any]], tuple[int, dict[str, str]]]
"""Invokes the function with a request of API Gateway. Returns the status and the body of the answer."""


@pytest.fixture(scope="module")
def stack() -> Iterator[MotoStack]:
    with moto_server() as endpoint:
        yield MotoStack(endpoint)


@pytest.fixture
def sender(stack: MotoStack) -> Iterator[ReceiverInstance]:
    """Signs deliveries, now."""
    with time_machine.travel(now := time.time()) as traveller:
        yield ReceiverInstance(stack, Clock(traveller, now), stack.settings)


@pytest.fixture(scope="module")
def invoke(stack: MotoStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Invoke]:
    function = lambda_runtime.declared()
    # Only the artifact and the runtime client are on Python's path, so that a missing package is noticed.
    client = lambda_runtime.client(tmp_path_factory.mktemp("runtime") / "client")
    (emulator,) = ROOT.glob(f".venv-sam/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{machine()}")
    port = free_port()
    command = [
        *(str(emulator), "--log-level", "error"),
        *("--runtime-interface-emulator-address", f"127.0.0.1:{port}"),
        *("--runtime-api-address", f"127.0.0.1:{free_port()}"),
        *(f"{sys.base_prefix}/bin/python3.13", "-S", "-m", "awslambdaric", function.handler),
    ]
    environment = {
        **lambda_runtime.environment(function, endpoint=stack.endpoint, packages=client),
        **stack.environment,
        "PYTHONPATH": f"{ARTIFACT}:{client}",
        "LAMBDA_TASK_ROOT": str(ARTIFACT),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(lambda_runtime.TIMEOUT),
    }

    def post(event: dict[str, Any]) -> tuple[int, dict[str, str]]:
        url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        answer = requests.post(url, json=event, timeout=30).json()
        return answer["statusCode"], json.loads(answer["body"])

    with program(command, cwd=ARTIFACT, env=environment):
        wait_until(lambda: listens(port), "the runtime emulator", seconds=10)
        yield post


@pytest.mark.parametrize("header", [str.lower, str.title], ids=["as API Gateway", "as sam local start-api"])
def test_delivery_is_published_once(
    header: Callable[[str], str], invoke: Invoke, sender: ReceiverInstance, stack: MotoStack
) -> None:
    request = sender.delivery(webhook_id=f"wh_{header.__name__}")
    request["headers"] = {header(name): value for name, value in request["headers"].items()}

    assert invoke(request) == (200, {"outcome": "published"})
    assert invoke(request) == (200, {"outcome": "duplicate"})
    assert ids(stack.arrived()) == [EVENT_ID]


def test_forgery_is_not_published(invoke: Invoke, sender: ReceiverInstance, stack: MotoStack) -> None:
    assert invoke(sender.delivery(secret=OTHER_SECRET)) == (401, {"error": "SignatureMismatch"})
    assert stack.arrived() == []


def test_bytecode_is_valid_whatever_date_sources_have() -> None:
    checked_by_hash = MAGIC_NUMBER + (0b11).to_bytes(4, "little")  # PEP 552
    sources = list(ARTIFACT.rglob("*.py"))

    assert {ARTIFACT / "receiver/app.py", ARTIFACT / "botocore/client.py"} <= set(sources)
    for source in sources:
        assert Path(cache_from_source(source)).read_bytes().startswith(checked_by_hash)


def machine() -> str:
    """Return the processor as the emulator's file name has it."""
    return {"aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
