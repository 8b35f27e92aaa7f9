"""The built artefact, and nothing beside it, under Lambda's own runtime client and emulator."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import requests

from webhooks import gateway, samples
from webhooks.embedded import Aws

ROOT = Path(__file__).resolve().parents[2]
ARTEFACT = ROOT / ".aws-sam/build/ReceiverFunction"
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
    runtime = tmp_path_factory.mktemp("runtime")
    for name in ("awslambdaric", "simplejson", "snapshot-restore-py"):
        package = distribution(name)
        for top in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
            (runtime / top).symlink_to(str(package.locate_file(top)))
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
            "PYTHONPATH": f"{ARTEFACT}:{runtime}",
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
def on_bus(aws: Aws, invoke: Invoke) -> Callable[[], list[dict[str, Any]]]:
    """The events that have come onto the bus since the last call."""
    queue = aws.client("sqs").create_queue(QueueName="everything")["QueueUrl"]
    events = aws.client("events")
    events.put_rule(Name="everything", EventBusName="openai-webhooks", EventPattern='{"source": [{"prefix": ""}]}')
    target = {"Id": "everything", "Arn": "arn:aws:sqs:us-east-1:123456789012:everything"}
    events.put_targets(Rule="everything", EventBusName="openai-webhooks", Targets=[target])

    def receive() -> list[dict[str, Any]]:
        messages = aws.client("sqs").receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        for message in messages:
            aws.client("sqs").delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(message["Body"]) for message in messages]

    return receive


def test_a_delivery_comes_onto_the_bus_once(invoke: Invoke, on_bus: Callable[[], list[dict[str, Any]]]) -> None:
    event = samples.sample("response.completed", created_at=int(time.time()), event_id="evt_e2e")
    delivery = _delivery(samples.encode(event), secret=SECRET)

    assert _outcome(invoke(delivery)) == (200, {"outcome": "published"})
    (arrived,) = on_bus()
    assert (arrived["source"], arrived["detail-type"], arrived["detail"]) == ("openai.com", event["type"], event)
    assert _outcome(invoke(delivery)) == (200, {"outcome": "duplicate"})
    assert on_bus() == []


def test_a_forgery_does_not(invoke: Invoke, on_bus: Callable[[], list[dict[str, Any]]]) -> None:
    body = samples.encode(samples.sample("response.completed", created_at=int(time.time())))

    assert _outcome(invoke(_delivery(body, secret=samples.new_secret()))) == (401, {"error": "Unverified"})
    assert on_bus() == []


def _delivery(body: bytes, *, secret: str) -> dict[str, Any]:
    now = int(time.time())
    headers = samples.headers(body, secret=secret, timestamp=now, webhook_id=samples.new_id("wh_"))
    return gateway.request_event("POST", gateway.PATH, headers, body, now=now)


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
