"""`make deploy` shows where it deploys to, and refuses an environment that samconfig.toml does not have."""

import os
import subprocess
import tomllib
from pathlib import Path
from shutil import copy
from typing import Any, Final

import boto3
import pytest
from botocore.stub import Stubber

from scripts.environment import main
from tests.support.paths import ROOT

ENVIRONMENTS: Final = [
    name for name, value in tomllib.loads((ROOT / "samconfig.toml").read_text()).items() if isinstance(value, dict)
]


@pytest.fixture(autouse=True)
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in {"DEFAULT_REGION": "eu-west-1", "ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "x"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch) -> Stubber:
    """Answers of STS, for every region."""
    client = boto3.client("sts")
    stubber = Stubber(client)
    stubber.activate()
    monkeypatch.setattr(boto3.Session, "client", lambda _session, _service: client)
    return stubber


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["default"], ["default", "openai-webhooks", "123456789012", "eu-west-1"]),
        (["prod"], ["prod", "openai-webhooks-prod", "123456789012", "eu-west-1"]),
        (
            ["dev", "--stack-name", "mine", "--parameter-overrides", "LogLevel=INFO", "--region", "us-west-2"],
            ["dev", "mine", "123456789012", "us-west-2"],
        ),
    ],
)
def test_deploy_shows_environment_stack_account_and_region(
    arguments: list[str], expected: list[str], sts: Stubber
) -> None:
    sts.add_response("get_caller_identity", {"Account": "123456789012"})

    assert [line.split()[-1] for line in main(arguments).splitlines()] == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["default"], "endpoint create"),
        (["prod"], "endpoint create --stack openai-webhooks-prod"),
        (["dev", "--stack-name=mine", "--region=us-west-2"], "endpoint create --stack mine --region us-west-2"),
    ],
)
def test_next_command_has_options_of_deployment(
    arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy(ROOT / "samconfig.toml", tmp_path)
    (tmp_path / "cli").mkdir()
    monkeypatch.chdir(tmp_path)

    assert main([*arguments, "--next"]).splitlines()[-1].endswith(expected)


def test_next_step_without_command_is_in_dashboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy(ROOT / "samconfig.toml", tmp_path)
    monkeypatch.chdir(tmp_path)

    text = main(["default", "--next"])

    assert "StoreSecretCommand" in text
    assert "openai-webhooks" not in text


def test_region_of_option_beats_region_of_environment(
    sts: Stubber, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = '[default.deploy.parameters]\nstack_name = "mine"\nregion = "eu-central-1"\n'
    (tmp_path / "samconfig.toml").write_text(settings)
    monkeypatch.chdir(tmp_path)
    sts.add_response("get_caller_identity", {"Account": "123456789012"})

    assert main(["default", "--region=us-west-2"]).split()[-1] == "us-west-2"


def test_unknown_environment_is_refused_with_list() -> None:
    with pytest.raises(SystemExit, match=f"'staging'.*{', '.join(ENVIRONMENTS)}"):
        main(["staging", "--check"])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_environment_passes_check(environment: str) -> None:
    assert main([environment, "--check"]) == ""


def test_refused_credentials_say_what_to_do(sts: Stubber) -> None:
    sts.add_client_error("get_caller_identity", "ExpiredToken")

    with pytest.raises(SystemExit, match=r"ExpiredToken.*\n.*aws sts get-caller-identity"):
        main(["default"])


def test_missing_region_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)

    with pytest.raises(SystemExit, match="AWS_DEFAULT_REGION"):
        main(["default"])


@pytest.mark.parametrize(
    ("arguments", "variables", "environment"),
    [
        ([], {}, "default"),
        (["ENV=prod"], {}, "prod"),
        ([], {"ENV": "prod"}, "prod"),
        (["ENV=dev"], {"ENV": "prod"}, "dev"),
    ],
    ids=["default", "make deploy ENV=prod", "ENV=prod make deploy", "both"],
)
def test_make_deploys_environment(arguments: list[str], variables: dict[str, str], environment: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ENV"))}
    options: dict[str, Any] = {"cwd": ROOT, "env": inherited | variables}
    command = ["make", "--dry-run", "deploy", *arguments]

    commands = subprocess.run(command, capture_output=True, text=True, check=True, **options).stdout.splitlines()

    shown, deployed = f"environment.py {environment}", f"sam deploy --config-env {environment}"
    [show] = [n for n, line in enumerate(commands) if line.rstrip().endswith(shown)]
    [deploy] = [n for n, line in enumerate(commands) if deployed in line]
    assert show < deploy
    assert any(f"sam build --config-env {environment}" in line for line in commands)
