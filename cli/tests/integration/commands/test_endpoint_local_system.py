"""`openai-webhooks endpoint` with the real receiver, in processes of its own."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.tests.support.deployed_receiver import ENVIRONMENT
from cli.tests.support.openai_stand_in import EndpointsStandIn
from openai_webhooks_cli.local.local_system import LocalSystem
from openai_webhooks_cli.main import app


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalSystem]:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    with LocalSystem(secret="Placeholder until the signing secret is stored.", logs=tmp_path) as system:
        monkeypatch.setenv("AWS_ENDPOINT_URL", system.aws.url)
        yield system


def test_new_stack_is_connected_and_its_secret_rotated(system: LocalSystem) -> None:
    def run(*arguments: str) -> list[str]:
        result: Result = CliRunner().invoke(app, ["endpoint", *arguments, "--json"], env=openai.environment)
        assert result.exit_code == 0, result.output
        return [json.loads(line)["type"] for line in result.stdout.splitlines()]

    with EndpointsStandIn(route=lambda _: system.http_api.url) as openai:
        assert run("create") == ["created", "answered", "arrived"]
        [endpoint_id] = openai.endpoints
        [first] = openai.secrets[endpoint_id]
        assert run("test", "batch.completed") == ["answered", "arrived"]

        assert run("rotate") == ["rotated", "answered", "arrived"]
        assert openai.deliver(endpoint_id, "batch.failed", first) == 200

        assert run("rotate", "--leaked", "--yes") == ["rotated", "answered", "arrived"]
        assert openai.deliver(endpoint_id, "batch.failed", openai.secrets[endpoint_id][0]) == 200
