"""The commands that messages name."""

from pathlib import Path

import pytest

from openai_webhooks_cli.shell import next_command
from openai_webhooks_cli.shell.next_command import Running, aws, make, openai_webhooks, without_stack
from tests.support.paths import ROOT


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_WEBHOOKS_STACK", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(next_command, "_running", Running())


def run_with(monkeypatch: pytest.MonkeyPatch, **options: str) -> None:
    monkeypatch.setattr(next_command, "_running", Running("doctor", **options))


@pytest.mark.parametrize(
    ("options", "variables", "expected"),
    [
        pytest.param({}, {}, "", id="defaults"),
        pytest.param({"stack": "prod"}, {}, " --stack prod", id="stack"),
        pytest.param({"stack": "prod"}, {"OPENAI_WEBHOOKS_STACK": "prod"}, " --stack prod", id="stack of variable"),
        pytest.param({}, {"OPENAI_WEBHOOKS_STACK": "prod"}, " --stack openai-webhooks", id="default despite variable"),
        pytest.param(
            {"region": "eu-central-1", "profile": "a b"}, {}, " --region eu-central-1 --profile 'a b'", id="place"
        ),
        pytest.param({"endpoint_url": "http://x"}, {}, " --endpoint-url http://x", id="endpoint"),
        pytest.param({"endpoint_url": "http://x"}, {"AWS_ENDPOINT_URL": "http://x"}, "", id="endpoint of variable"),
    ],
)
def test_command_selects_same_stack(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, str], variables: dict[str, str], expected: str
) -> None:
    run_with(monkeypatch, **options)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert openai_webhooks("listen", "--clean") == f"openai-webhooks listen --clean{expected}"
    assert without_stack("events") == "openai-webhooks events"


def test_words_are_quoted_and_printable() -> None:
    words = openai_webhooks("replay", "batch.*", "$(reboot)\x1b")

    assert words == "openai-webhooks replay 'batch.*' '$(reboot)\N{REPLACEMENT CHARACTER}'"


def test_command_of_aws_has_region_of_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    run_with(monkeypatch, region="us-east-1", profile="dev", stack="prod")

    assert aws("sqs", "list-queues", region="eu-west-1") == "aws sqs list-queues --region eu-west-1 --profile dev"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "make deploy ARGS='--parameter-overrides A=1'"),
        ({"stack": "openai-webhooks-prod"}, "make deploy ENV=prod ARGS='--parameter-overrides A=1'"),
        ({"stack": "mine"}, "make deploy ARGS='--stack-name mine --parameter-overrides A=1'"),
        ({"region": "eu-west-1"}, "make deploy ARGS='--region eu-west-1 --parameter-overrides A=1'"),
    ],
    ids=["default", "environment", "other stack", "region"],
)
def test_make_deploys_same_stack(monkeypatch: pytest.MonkeyPatch, options: dict[str, str], expected: str) -> None:
    monkeypatch.chdir(ROOT)
    run_with(monkeypatch, **options)

    assert make("deploy", "--parameter-overrides", "A=1") == expected


@pytest.mark.parametrize("folder", ["checkout", "elsewhere"])
def test_program_of_checkout_is_named_by_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: str) -> None:
    program = tmp_path / "checkout/.venv/bin/openai-webhooks"
    program.parent.mkdir(parents=True)
    program.write_text("")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / folder)
    monkeypatch.setattr("sys.argv", [str(program), "doctor"])
    monkeypatch.setenv("PATH", "/usr/bin")

    assert without_stack() == (".venv/bin/openai-webhooks" if folder == "checkout" else str(program))

    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    assert without_stack() == "openai-webhooks"
