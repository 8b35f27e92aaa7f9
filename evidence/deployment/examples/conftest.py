"""Fixtures: the receiver and examples, deployed to ministack with `sam deploy`, and a stand-in for OpenAI's API.

The stacks of a session share one ministack. Each test uses events and resources of its own.
"""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from evidence.deployment.ministack import Deployed, Ministack, built_checkout, ministack
from openai_webhooks_cli import samples
from openai_webhooks_cli.local.openai_stand_in import API_KEY, OpenAIStandIn

SECRET = samples.new_secret()


@pytest.fixture(scope="session")
def aws() -> Iterator[Ministack]:
    with ministack() as running:
        running.client("secretsmanager").create_secret(Name="openai-api-key", SecretString=API_KEY)
        yield running


@pytest.fixture(scope="session")
def openai() -> Iterator[OpenAIStandIn]:
    with OpenAIStandIn() as running:
        yield running


@pytest.fixture(scope="session")
def checkout(aws: Ministack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_checkout(aws, tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def receiver(aws: Ministack, checkout: Path) -> Deployed:
    deployed = aws.deploy("openai-webhooks", checkout)
    deployed.store(SECRET)
    return deployed


@pytest.fixture(scope="session")
def deploy_example(
    aws: Ministack, checkout: Path, receiver: Deployed, openai: OpenAIStandIn
) -> Callable[..., Deployed]:
    """Return a function that builds and deploys an example, by the name of its folder, and returns its stack.

    Its other arguments are parameters of the template.
    """

    @cache
    def deploy(name: str, **parameters: str) -> Deployed:
        project = checkout / "examples" / name
        aws.run("sam", "build", cwd=project)
        return aws.deploy(f"openai-webhooks-{name}", project, OpenAIBaseUrl=openai.base_url, **parameters)

    return deploy
