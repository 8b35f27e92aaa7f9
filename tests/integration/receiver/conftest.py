"""The receiver over moto, which makes real requests possible."""

from collections.abc import Iterator

import pytest
import time_machine

from tests.support import moto_stack
from tests.support.moto_stack import MotoStack
from tests.support.receiver_instance import NOW, Clock


@pytest.fixture(scope="session")
def endpoint() -> Iterator[str]:
    """The URL of a moto server."""
    with moto_stack.moto_server() as url:
        # The first event makes moto import modules, and the receiver does not wait that long.
        MotoStack(url).client("events").put_events(Entries=[{"Source": "s", "DetailType": "t", "Detail": "{}"}])
        yield url


@pytest.fixture(scope="module")
def stack(endpoint: str) -> Iterator[MotoStack]:
    moto_stack.reset(endpoint)
    yield MotoStack(endpoint)
    moto_stack.reset(endpoint)


@pytest.fixture
def clock() -> Iterator[Clock]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield Clock(traveller)
