"""The built artefact, and nothing beside it, under Lambda's own runtime client and emulator."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests

from proof import ROOT, runtime
from proof.runtime import ARTEFACT
from webhooks import gateway, samples
from webhooks.embedded import Aws

if TYPE_CHECKING:
    from tests.e2e.conftest import Bus, Delivery

SECRET = samples.new_secret()

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the runtime emulator runs on Linux")

type Invoke = Callable[[dict[str, Any]], dict[str, Any]]


@pytest.fixture(scope="module")
def aws() -> Iterator[Aws]:
    aws = Aws()
    yield aws
    aws.close()


@pytest.fixture(scope="module")
def invoke(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Invoke]:
    stack = aws.deploy(ROOT / "template.yaml", "openai-webhooks")
    aws.client("secretsmanager").put_secret_value(SecretId=stack.secrets["SigningSecret"], SecretString=SECRET)
    function = stack.functions["ReceiverFunction"]
    # Python's path is the artefact and the runtime client alone, so that a package missing from the artefact is missed.
    client = runtime.client(tmp_path_factory.mktemp("runtime") / "client")
    (emulator,) = ROOT.glob(f".venv-sam/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-{_machine()}")
    address, api = f"127.0.0.1:{_free_port()}", f"127.0.0.1:{_free_port()}"
    process = subprocess.Popen(
        [
            *(str(emulator), "--log-level", "error"),
            *("--runtime-interface-emulator-address", address, "--runtime-api-address", api),
            *(f"{sys.base_prefix}/bin/python3.13", "-S", "-m", "awslambdaric", function.handler),
        ],
        cwd=ARTEFACT,
        env={
            **function.environment,
            "PATH": os.environ["PATH"],
            "PYTHONPATH": f"{ARTEFACT}:{client}",
            "_HANDLER": function.handler,
            "LAMBDA_TASK_ROOT": str(ARTEFACT),
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_FUNCTION_TIMEOUT": str(function.timeout),
        },
    )
    _wait_for(address)
    yield lambda event: requests.post(
        f"http://{address}/2015-03-31/functions/function/invocations", json=event, timeout=30
    ).json()
    process.terminate()
    process.wait()


@pytest.fixture(scope="module")
def embedded_bus(aws: Aws, invoke: Invoke, bus_at: "Callable[[str], Bus]") -> "Bus":
    return bus_at(aws.url)


@pytest.mark.parametrize("header", [str.lower, str.title], ids=["as API Gateway", "as sam local start-api"])
def test_a_delivery_comes_onto_the_bus_once(
    header: Callable[[str], str], invoke: Invoke, embedded_bus: "Bus", new_delivery: "Callable[..., Delivery]"
) -> None:
    delivery = new_delivery("response.completed", secret=SECRET)
    request = _request(delivery)
    request["headers"] = {header(name): value for name, value in request["headers"].items()}

    assert _outcome(invoke(request)) == (200, {"outcome": "published"})
    (arrived,) = embedded_bus.arrived(delivery.event["id"])
    assert (arrived["source"], arrived["detail-type"]) == ("openai.com", "response.completed")
    assert arrived["detail"] == delivery.event
    assert _outcome(invoke(request)) == (200, {"outcome": "duplicate"})
    assert len(embedded_bus.arrived(delivery.event["id"])) == 1


def test_a_forgery_does_not(invoke: Invoke, embedded_bus: "Bus", new_delivery: "Callable[..., Delivery]") -> None:
    forged = new_delivery("response.completed", secret=samples.new_secret())

    assert _outcome(invoke(_request(forged))) == (401, {"error": "Unverified"})
    assert embedded_bus.arrived(forged.event["id"]) == []


def test_its_bytecode_counts_whatever_date_its_sources_bear() -> None:
    checked_by_hash = MAGIC_NUMBER + (0b11).to_bytes(4, "little")  # PEP 552
    sources = list(ARTEFACT.rglob("*.py"))

    assert {ARTEFACT / "receiver/app.py", ARTEFACT / "botocore/client.py"} <= set(sources)
    for source in sources:
        assert Path(cache_from_source(source)).read_bytes().startswith(checked_by_hash)


def _request(delivery: "Delivery") -> dict[str, Any]:
    return gateway.request_event("POST", gateway.PATH, delivery.headers, delivery.body, now=int(time.time()))


def _outcome(response: dict[str, Any]) -> tuple[int, dict[str, str]]:
    return response["statusCode"], json.loads(response["body"])


def _machine() -> str:
    return {"aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def _wait_for(address: str) -> None:
    host, port = address.split(":")
    for _ in range(200):
        try:
            socket.create_connection((host, int(port))).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(f"the runtime emulator does not listen on {address}")
