"""Fixtures: both stacks in moto, calls to AWS that fail, a server of the user, and OpenAI.

No test may leave a rule or a queue of `listen`.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import botocore.session
import pytest
from werkzeug import Request, Response

from cli.tests.support.aws_calls import AwsCall, AwsFaults, record_calls
from cli.tests.support.deployed_receiver import ENVIRONMENT, DeployedReceiver, deploy_receiver
from cli.tests.support.event_archive import EventArchive, event_archive
from cli.tests.support.failed_subscriber import Subscriber
from cli.tests.support.local_server import LocalServer, local_server
from cli.tests.support.openai_stand_in import EndpointsStandIn
from openai_webhooks_cli.local import wsgi_server

_create_loader = cache(botocore.session.create_loader)


@pytest.fixture(scope="module", autouse=True)
def shared_service_models() -> Iterator[None]:
    """Let all sessions of botocore share what they read of AWS's services, because each command starts one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", _create_loader)
        yield


_deployed: list[DeployedReceiver] = []


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DeployedReceiver]:
    """The receiver's stack, as it is after the deployment. After the test, no rule or queue of `listen` exists."""
    if not _deployed or not _deployed[-1].is_deployed:
        _deployed.append(deploy_receiver())
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    yield _deployed[-1]
    leftovers = _deployed[-1].leftovers()
    _deployed[-1].reset()
    assert leftovers == []


@pytest.fixture
def archive(receiver: DeployedReceiver, monkeypatch: pytest.MonkeyPatch) -> EventArchive:
    return event_archive(receiver, monkeypatch)


@pytest.fixture
def subscriber(receiver: DeployedReceiver) -> Subscriber:
    return Subscriber(receiver)


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> AwsFaults:
    return AwsFaults(monkeypatch)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[AwsCall]:
    return record_calls(monkeypatch)


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with local_server() as server:
        yield server


@pytest.fixture
def answers() -> list[int]:
    """Status codes of the next answers to OpenAI. Their events are not published."""
    return []


@pytest.fixture
def openai(
    receiver: DeployedReceiver, answers: list[int], monkeypatch: pytest.MonkeyPatch
) -> Iterator[EndpointsStandIn]:
    """OpenAI. A test delivery gets the next of `answers`. Without one, its event is published."""

    def answer(request: Request) -> Response:
        if answers:
            return Response(status=answers.pop())
        receiver.publish(json.loads(request.get_data())["type"])
        return Response()

    server = wsgi_server.start(Request.application(answer))
    with EndpointsStandIn(route=lambda _: f"http://{server.host}:{server.port}/") as stand_in:
        for name, value in stand_in.environment.items():
            monkeypatch.setenv(name, value)
        yield stand_in
    wsgi_server.stop(server)
