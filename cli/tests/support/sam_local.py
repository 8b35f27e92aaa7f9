"""`sam local`: functions in containers, over the embedded AWS of `openai-webhooks dev`."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import pytest

from tests.support.background import Background, background, free_port, program, shown
from tests.support.paths import ROOT

IMAGE: Final = "public.ecr.aws/lambda/python:3.13-x86_64"
COMMAND: Final = str(ROOT / ".venv/bin/openai-webhooks")


class Dev(NamedTuple):
    """A running `openai-webhooks dev`, on ports that the system chose."""

    running: Background

    @property
    def url(self) -> str:
        return self._printed("URL")

    @property
    def aws_url(self) -> str:
        return self._printed("AWS")

    @property
    def access_key(self) -> str:
        [key] = re.findall(r"export AWS_ACCESS_KEY_ID=(\S+)", self.running.text())
        return str(key)

    @property
    def aws_port(self) -> int:
        port = urlsplit(self.aws_url).port
        assert port
        return port

    def _printed(self, label: str) -> str:
        [value] = [line.split()[1] for line in self.running.text().splitlines() if line.startswith(f"{label} ")]
        return value


@contextmanager
def dev(output: Path, *options: str) -> Iterator[Dev]:
    """Run `openai-webhooks dev` until the end of the `with` statement."""
    ports = ("--port", "0", "--aws-port", "0")
    with background(COMMAND, "dev", *ports, *options, ready="Ctrl-C", output=output) as running:
        yield Dev(running)


class Invoked(NamedTuple):
    """The output of `sam local invoke`."""

    answer: Any
    log: str

    @property
    def outcome(self) -> tuple[int, Any]:
        """The status and the body of a HTTP answer."""
        return self.answer["statusCode"], json.loads(self.answer["body"])


class Served(NamedTuple):
    """A running `sam local start-api` or `start-lambda`."""

    running: Background
    url: str


class Sam:
    """SAM CLI, for a user who has set a region and the credentials that `dev` printed.

    The functions use the embedded AWS of `dev`. `pull` says whether Docker can pull their image.
    """

    def __init__(self, folder: Path, dev: Dev, *, pull: bool) -> None:
        self._folder = folder
        self._aws_url = f"http://host.docker.internal:{dev.aws_port}"
        self._environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("AWS", "PYTHON"))
        } | {
            "PATH": f"{ROOT}/.venv-sam/bin:{os.environ['PATH']}",
            "SAM_CLI_TELEMETRY": "0",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": dev.access_key,
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }
        if not pull:
            self._environment["SAM_SKIP_PULL_IMAGE"] = "1"  # --skip-pull-image

    def run(self, *arguments: str | Path, cwd: Path = ROOT) -> tuple[str, str]:
        """Run a command until it ends. Return its output and its log."""
        command = ["sam", *arguments]
        pipe = subprocess.PIPE
        with program(command, cwd=cwd, env=self._environment, stdout=pipe, stderr=pipe) as process:
            output, log = (stream.decode() for stream in process.communicate())
        if process.returncode:
            pytest.fail(f"{shown(command)} ended with {process.returncode}:\n{log}", pytrace=False)
        return output, log

    def invoke(self, event: Path, **variables: str) -> Invoked:
        """Run `sam local invoke ReceiverFunction -e EVENT`, with other values of the function's `variables`."""
        settings = self._env_vars(ROOT, variables)
        output, log = self.run("local", "invoke", "ReceiverFunction", "-e", event, "--env-vars", settings)
        if not output:
            pytest.fail(f"the function did not answer {event}:\n{log}", pytrace=False)
        return Invoked(json.loads(output), log)

    @contextmanager
    def serve(self, command: str, *, cwd: Path = ROOT, **variables: str) -> Iterator[Served]:
        """Run `sam local start-api` or `start-lambda` until the end of the `with` statement, on a free port."""
        port = free_port()
        settings = self._env_vars(cwd, variables)
        with background(
            *("sam", "local", command, "--port", str(port), "--env-vars", settings),
            ready="Press CTRL+C to quit",
            output=self._folder / f"{command}-{port}.log",
            cwd=cwd,
            env=self._environment,
        ) as running:
            yield Served(running, f"http://127.0.0.1:{port}")

    def _env_vars(self, project: Path, variables: dict[str, str]) -> Path:
        """Write the project's sam-local.env.json with the port of this AWS and with other values of `variables`."""
        settings = json.loads((project / "sam-local.env.json").read_text())
        for declared in settings.values():
            declared.update({"AWS_ENDPOINT_URL": self._aws_url} | variables)
        text = json.dumps(settings)
        file = self._folder / f"{abs(hash(text))}.env.json"
        file.write_text(text)
        return file


def require_image() -> bool:
    """Skip the test without a Docker engine or the image. With E2E_REQUIRE_DOCKER=1, end the run instead.

    Return whether Docker can pull the image.
    """
    if not _docker("version"):
        _without_docker("no Docker engine answers. Start one, or set DOCKER_HOST")
    pulled = _docker("pull", IMAGE)
    if not pulled and not _docker("image", "inspect", IMAGE):
        _without_docker(f"{IMAGE} is missing and cannot be pulled. `docker pull {IMAGE}` says why")
    return pulled


def _docker(*arguments: str) -> bool:
    # `sam` ignores Docker's contexts: it uses DOCKER_HOST or the default socket. So docker must do the same here.
    command = ["docker", "--context", "default", *arguments]
    return bool(shutil.which("docker")) and not subprocess.run(command, capture_output=True, check=False).returncode


def _without_docker(reason: str) -> None:
    message = f"`sam local` needs containers: {reason}. Then run `make e2e` again."
    if os.environ.get("E2E_REQUIRE_DOCKER") == "1":
        pytest.exit(message, returncode=1)
    pytest.skip(reason=message)  # tests without containers still run; CI requires Docker
