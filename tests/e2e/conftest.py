"""The machine of somebody who follows docs/local.md: `make dev` runs, and `sam local` runs the functions beside it.

Test modules take types from here, for annotations only; everything else comes through fixtures.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import boto3
import pytest
import requests

from webhooks import samples
from webhooks.embedded import ACCOUNT
from webhooks.stacks import REGION

ROOT: Final = Path(__file__).resolve().parents[2]
IMAGE: Final = "public.ecr.aws/lambda/python:3.13-x86_64"
DEV_URL: Final = "http://127.0.0.1:8787/webhooks/openai"
DEV_AWS_URL: Final = "http://127.0.0.1:4510"

# However a run is told to end, it takes its processes and containers with it. And in a shell's background job, where
# SIGINT is ignored, programs that are started from here would inherit that.
for ending in (signal.SIGINT, signal.SIGTERM):
    signal.signal(ending, signal.default_int_handler)


def until[Found](found: Callable[[], Found], what: str, *, seconds: int = 60) -> Found:
    """Wait for what `found` returns to be true, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if result := found():
            return result
        time.sleep(0.05)
    pytest.fail(f"{what}: not within {seconds} s")


class Background(NamedTuple):
    """A program that runs beside the tests."""

    process: subprocess.Popen[bytes]
    output: Path

    def text(self) -> str:
        """What it has printed, on both streams."""
        return self.output.read_text(errors="replace")

    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines among it: the functions' logs."""
        whole, _, _ = self.text().rpartition("\n")  # the last line may still be being written
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]


@contextmanager
def background(
    *command: str | Path, ready: str, output: Path, cwd: Path = ROOT, env: dict[str, str] | None = None
) -> Iterator[Background]:
    """Run a program from when it has printed `ready` to the end of the `with` statement."""
    with output.open("wb") as file, _program(command, cwd=cwd, env=env, stdout=file, stderr=file) as process:
        running = Background(process, output)
        until(lambda: ready in running.text() or process.poll() is not None, f"{ready!r} from {_line(command)}")
        if process.poll() is not None:
            pytest.fail(f"{_line(command)} ended with {process.returncode}:\n{running.text()}", pytrace=False)
        yield running


@contextmanager
def _program(command: Sequence[str | Path], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    # In a session of its own, Ctrl-C doesn't reach it: it is ended here, and waited for. By SIGINT, since on SIGTERM
    # `sam local` leaves its containers if it is still starting them.
    with subprocess.Popen(command, start_new_session=True, **options) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(30)
            finally:
                process.kill()


class Invoked(NamedTuple):
    """What `sam local invoke` printed."""

    answer: Any
    log: str


class Sam:
    """`sam`, for a user who has set a region but no credentials."""

    def __init__(self, folder: Path, *, pull: bool) -> None:
        self.folder = folder
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS", "PYTHON"))
        }
        self._environment |= {
            "PATH": f"{ROOT}/.venv-sam/bin:{os.environ['PATH']}",
            "SAM_CLI_TELEMETRY": "0",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        if not pull:
            self._environment["SAM_SKIP_PULL_IMAGE"] = "1"  # --skip-pull-image

    def run(self, *arguments: str | Path, cwd: Path = ROOT) -> tuple[str, str]:
        """Run a command to its end. Returns its output and its log."""
        command = ["sam", *arguments]
        pipe = subprocess.PIPE
        with _program(command, cwd=cwd, env=self._environment, stdout=pipe, stderr=pipe) as process:
            output, log = (stream.decode() for stream in process.communicate())
        if process.returncode:
            pytest.fail(f"{_line(command)} ended with {process.returncode}:\n{log}", pytrace=False)
        return output, log

    def invoke(self, event: Path, *arguments: str | Path) -> Invoked:
        """`sam local invoke ReceiverFunction -e EVENT`."""
        output, log = self.run("local", "invoke", "ReceiverFunction", "-e", event, *arguments)
        if not output:
            pytest.fail(f"the function did not answer to {event}:\n{log}", pytrace=False)
        return Invoked(json.loads(output), log)

    @contextmanager
    def serve(self, command: str, *arguments: str | Path, cwd: Path = ROOT) -> Iterator[Background]:
        """`sam local start-api` or `start-lambda`."""
        with background(
            *("sam", "local", command, *arguments),
            ready="Press CTRL+C to quit",
            output=self.folder / f"{command}-{time.monotonic_ns()}.log",
            cwd=cwd,
            env=self._environment,
        ) as running:
            yield running


class Bus:
    """Everything that comes onto the bus of an embedded AWS."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._seen: list[dict[str, Any]] = []
        self._queue = self.client("sqs").create_queue(QueueName="Seen")["QueueUrl"]
        rule = {"Name": "Seen", "EventBusName": "openai-webhooks"}
        self.client("events").put_rule(**rule, EventPattern='{"source": [{"prefix": ""}]}')
        target = {"Id": "Seen", "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:Seen"}
        self.client("events").put_targets(Rule="Seen", EventBusName="openai-webhooks", Targets=[target])

    def client(self, service: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self._url,
            region_name=REGION,
            aws_access_key_id="embedded",
            aws_secret_access_key="embedded",
        )

    def arrived(self, event_id: str) -> list[dict[str, Any]]:
        """The event with that id, as the bus gives it to its targets, as often as it has come.

        It is there before the receiver has answered: this AWS delivers within PutEvents.
        """
        sqs = self.client("sqs")
        while messages := sqs.receive_message(QueueUrl=self._queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                self._seen.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self._queue, ReceiptHandle=message["ReceiptHandle"])
        return [event for event in self._seen if event["detail"]["id"] == event_id]


class Delivery(NamedTuple):
    """An event in a request signed as OpenAI signs it."""

    event: dict[str, Any]
    body: bytes
    headers: dict[str, str]

    def post(self, url: str) -> tuple[int, Any]:
        """Make it. Returns the status and the answer."""
        response = requests.post(url, data=self.body, headers=self.headers, timeout=30)
        return response.status_code, response.json()


def delivery(
    event_type: str, *, secret: str = samples.DEVELOPMENT_SECRET, age: int = 0, body: bytes | None = None
) -> Delivery:
    """A delivery that has not been made before, signed `age` seconds ago, of a new event or with another body."""
    now = int(time.time())
    event = samples.sample(event_type, created_at=now, event_id=samples.new_id("evt_"))
    body = body or samples.encode(event)
    headers = samples.headers(body, secret=secret, timestamp=now - age, webhook_id=samples.new_id("wh_"))
    return Delivery(event, body, headers)


@pytest.fixture(scope="session")
def sam(tmp_path_factory: pytest.TempPathFactory) -> Sam:
    """Without a Docker engine, or an image for it, a test is skipped; with E2E_REQUIRE_DOCKER=1, the run fails."""
    if not _docker("version"):
        _without_docker("no Docker engine answers; start one, or say in DOCKER_HOST where it is")
    pulled = _docker("pull", IMAGE)
    if not pulled and not _docker("image", "inspect", IMAGE):
        _without_docker(f"{IMAGE} is not here and can't be pulled; `docker pull {IMAGE}` says why")
    return Sam(tmp_path_factory.mktemp("sam"), pull=pulled)


@pytest.fixture(scope="session")
def dev(sam: Sam) -> Iterator[Background]:
    """`make dev`, on the ports that it and local.json agree on."""
    webhooks = ROOT / ".venv/bin/webhooks"
    with background(webhooks, "dev", ready="Ctrl-C ends it.", output=sam.folder / "dev.log") as running:
        yield running


@pytest.fixture(scope="session")
def bus(dev: Background) -> Bus:
    """The bus of `make dev`."""
    return Bus(DEV_AWS_URL)


@pytest.fixture(scope="session")
def bus_at() -> Callable[[str], Bus]:
    """Makes the bus of the embedded AWS at a URL."""
    return Bus


@pytest.fixture(scope="session")
def new_delivery() -> Callable[..., Delivery]:
    return delivery


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    return until


def _docker(*arguments: str) -> bool:
    # `sam` finds an engine by DOCKER_HOST or at its usual socket. Contexts it doesn't know, and docker shouldn't here.
    command = ["docker", "--context", "default", *arguments]
    return bool(shutil.which("docker")) and not subprocess.run(command, capture_output=True, check=False).returncode


def _without_docker(reason: str) -> None:
    if os.environ.get("E2E_REQUIRE_DOCKER") == "1":
        pytest.exit(f"`sam local` needs containers: {reason}. Then `make e2e` again.", returncode=1)
    # The rest of these tests needs none, and runs.
    pytest.skip(reason=f"`sam local` needs containers: {reason}. Then `make e2e` again.")


def _line(command: Sequence[str | Path]) -> str:
    return " ".join(map(str, command))
