"""Fixtures: both stacks in moto, and a check that no test leaves a rule or a queue of `listen`."""

import logging
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import botocore.session
import pytest

from tests.support.deployed_receiver import DeployedReceiver, deployed_receiver

_create_loader = cache(botocore.session.create_loader)


@pytest.fixture(scope="module", autouse=True)
def shared_service_models() -> Iterator[None]:
    """Let all sessions of botocore share what they read of AWS's services, because each command starts one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(botocore.session, "create_loader", _create_loader)
        yield


@pytest.fixture(scope="module")
def shared_receiver() -> Iterator[DeployedReceiver]:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with deployed_receiver() as receiver:
        yield receiver


@pytest.fixture
def receiver(
    shared_receiver: DeployedReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[DeployedReceiver]:
    """The receiver's stack. After the test, no rule or queue of `listen` exists."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    yield shared_receiver
    assert shared_receiver.leftovers() == []
