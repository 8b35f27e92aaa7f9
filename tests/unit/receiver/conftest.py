"""The receiver over an AWS in memory."""

import os
import re
from collections.abc import Iterator

import pytest
import time_machine

from tests.support.in_memory_aws import InMemoryAws
from tests.support.receiver_instance import NOW, Clock, ReceiverInstance, Start, environment, in_memory_aws


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if re.match("AWS_|POWERTOOLS_", name)]:
        monkeypatch.delenv(name)


@pytest.fixture
def clock() -> Iterator[Clock]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield Clock(traveller)


@pytest.fixture
def aws() -> InMemoryAws:
    return in_memory_aws()


@pytest.fixture
def start(aws: InMemoryAws, clock: Clock) -> Start:
    return lambda *, log_level="INFO", **settings: ReceiverInstance(
        aws, clock, {**environment(), **settings}, log_level=log_level
    )


@pytest.fixture
def receiver(start: Start) -> ReceiverInstance:
    return start()
