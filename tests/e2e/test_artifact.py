"""The built artifact, and nothing else, in Lambda's own runtime client and emulator."""

import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from openai_webhooks_cli import samples
from openai_webhooks_cli.local.moto_aws import MotoAws
from tests.support import lambda_runtime
from tests.support.background import free_port, program, wait_until
from tests.support.local_bus import Bus
from tests.support.paths import ARTIFACT, ROOT
from tests.support.signed_delivery import new_delivery
from tests.support.templates import RECEIVER, receiver_environment

SECRET: Final = samples.new_secret()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the runtime emulator runs only on Linux")

type Invoke = Callable[[dict[str, Any]], tuple[int, dict[str, str]]]
"""Invokes the function with a request of API Gateway. Returns the status and the body of the answer."""


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoAws]:
    aws = MotoAws()
    yield aws
    aws.close()


@pytest.fixture(scope="module")
def invoke(aws: MotoAws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Invoke]:
    stack = aws.deploy(RECEIVER.path, "openai-webhooks")
    aws.client("secretsmanager").put_secret_value(SecretId=stack.secrets["SigningSecret"], SecretString=SECRET)
    function = stack.functions["ReceiverFunction"]
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
        **lambda_runtime.environment(function, endpoint=aws.url, packages=client),
        "PYTHONPATH": f"{ARTIFACT}:{client}",
        "LAMBDA_TASK_ROOT": str(ARTIFACT),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(function.timeout),
    }

    def post(event: dict[str, Any]) -> tuple[int, dict[str, str]]:
        url = f"http://127.0.0.1:{port}/2015-03-31/functions/function/invocations"
        answer = requests.post(url, json=event, timeout=30).json()
        return answer["statusCode"], json.loads(answer["body"])

    with program(command, cwd=ARTIFACT, env=environment):
        wait_until(lambda: listens(port), "the runtime emulator", seconds=10)
        yield post


@pytest.fixture(scope="module")
def bus(aws: MotoAws, invoke: Invoke) -> Bus:
    return Bus(aws.url)


@pytest.mark.parametrize("header", [str.lower, str.title], ids=["as API Gateway", "as sam local start-api"])
def test_delivery_is_published_once(header: Callable[[str], str], invoke: Invoke, bus: Bus) -> None:
    delivery = new_delivery("response.completed", secret=SECRET)
    request = delivery.request()
    request["headers"] = {header(name): value for name, value in request["headers"].items()}

    assert invoke(request) == (200, {"outcome": "published"})
    (received,) = bus.received(delivery.event["id"])
    source = receiver_environment()["EVENT_SOURCE"]
    assert (received["source"], received["detail-type"]) == (source, "response.completed")
    assert received["detail"] == delivery.event
    assert invoke(request) == (200, {"outcome": "duplicate"})
    assert len(bus.received(delivery.event["id"])) == 1


def test_forgery_is_not_published(invoke: Invoke, bus: Bus) -> None:
    forged = new_delivery("response.completed", secret=samples.new_secret())

    assert invoke(forged.request()) == (401, {"error": "Unverified"})
    assert bus.received(forged.event["id"]) == []


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
