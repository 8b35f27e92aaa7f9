"""Fixtures: one ministack for all tests, with the receiver and `subscriber` deployed once. Each test uses own events.

Other examples share the receiver. Each of them is deployed for the tests of its module and deleted after these tests.
"""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evidence.deployment.ministack import ACCOUNT, Deployed, Ministack, built_checkout, ministack
from evidence.deployment.stacks import SECRET, Stacks
from openai_webhooks_cli.local.openai_stand_in import API_KEY, OpenAIStandIn
from tests.support.paths import ROOT

# However a run ends, it ends its programs. A shell starts background jobs with SIGINT ignored, and programs that start
# here would inherit that.
for stop_signal in (signal.SIGINT, signal.SIGTERM):
    signal.signal(stop_signal, signal.default_int_handler)


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
    """A checkout in which the user has run plain `sam build` for all templates."""
    return built_checkout(aws, tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="session")
def receiver(aws: Ministack) -> Deployed:
    """The receiver at default parameters, by `make deploy` of what `make build` has built."""
    # Another build would replace files that other tests of `make -j2 e2e` are using.
    output = aws.run("make", "deploy", "--old-file=build", cwd=ROOT, stack_name="openai-webhooks")
    assert f"Account:     {ACCOUNT}" in output[: output.index("Deploying with following values")]
    deployed = Deployed(aws, "openai-webhooks")
    deployed.store(SECRET)
    return deployed


@pytest.fixture(scope="session")
def stacks(aws: Ministack, checkout: Path, receiver: Deployed) -> Stacks:
    """The receiver and the example `subscriber`, at default parameters."""
    return Stacks(receiver, aws.deploy("openai-webhooks-subscriber", checkout / "examples/subscriber"))


@pytest.fixture(scope="module")
def deploy_example(
    aws: Ministack, checkout: Path, receiver: Deployed, openai: OpenAIStandIn
) -> Iterator[Callable[..., Deployed]]:
    """Return a function that deploys an example, by the name of its folder, and returns its stack.

    Its other arguments are parameters of the template.
    """
    deployed: dict[str, Path] = {}

    def deploy(name: str, **parameters: str) -> Deployed:
        project = deployed[f"openai-webhooks-{name}"] = checkout / "examples" / name
        return aws.deploy(f"openai-webhooks-{name}", project, OpenAIBaseUrl=openai.base_url, **parameters)

    yield deploy
    for stack_name, project in deployed.items():
        aws.delete(stack_name, project)
