"""The commands, as a user types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from openai_webhooks import CATALOG
from openai_webhooks_cli import apigw_event, dev_defaults, main
from openai_webhooks_cli.local import sam_template
from tests.support.paths import ROOT


def test_events_lists_types_and_prints_sample_of_one() -> None:
    listed = _run("events").output
    sample = json.loads(_run("events", "realtime.call.incoming").output)
    unknown = _run("events", "orchestra.tuned")

    assert all(event_type in listed for event_type in CATALOG)
    assert sample["data"]["call_id"].startswith("rtc_")
    assert unknown.exit_code == 2
    assert "orchestra.tuned" in unknown.output


def test_events_writes_file_per_type(tmp_path: Path) -> None:
    assert _run("events", f"--write={tmp_path}").exit_code == 0
    assert {file.stem for file in tmp_path.iterdir()} == CATALOG.keys()


@pytest.mark.parametrize("command", ["send", "events", "listen", "replay", "endpoint create", "endpoint test"])
def test_shell_completes_event_type(command: str) -> None:
    words = {"COMP_WORDS": f"openai-webhooks {command} batch.c", "COMP_CWORD": str(len(command.split()) + 1)}
    variables = {**words, "_OPENAI_WEBHOOKS_COMPLETE": "complete_bash"}
    result = CliRunner().invoke(main.app, prog_name="openai-webhooks", env=variables)

    assert set(result.output.split()) == {"batch.cancelled", "batch.completed"}


@pytest.mark.parametrize("port", ["-1", "65536"])
def test_dev_rejects_invalid_port(port: str) -> None:
    assert _run("dev", f"--port={port}").exit_code == 2


@pytest.mark.parametrize("command", ["demo", "dev"])
def test_command_without_checkout_says_what_to_do(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dev_defaults, "RECEIVER", tmp_path / "template.yaml")
    result = _run(command)

    assert result.exit_code == 2
    assert result.output.endswith("make demo\n")


def test_defaults_are_those_of_files() -> None:
    [variables] = json.loads((ROOT / "sam-local.env.json").read_text()).values()

    assert variables["AWS_ENDPOINT_URL"] == f"http://host.docker.internal:{dev_defaults.AWS_PORT}"
    assert sam_template.plan(ROOT / "template.yaml").routes == [("POST", apigw_event.PATH)]


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main.app, arguments)
