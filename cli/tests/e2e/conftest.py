"""Fixtures: `openai-webhooks dev`, `sam local` with functions that use its AWS, and the bus of that AWS.

All of them use free ports, so these tests can run while a `make dev` runs.
"""

import signal
from collections.abc import Iterator

import pytest

from cli.tests.support import sam_local
from cli.tests.support.local_bus import Bus
from cli.tests.support.sam_local import Dev, Sam

# However a run ends, it ends its programs and containers. A shell starts background jobs with SIGINT ignored, and
# programs that start here would inherit that.
for stop_signal in (signal.SIGINT, signal.SIGTERM):
    signal.signal(stop_signal, signal.default_int_handler)


@pytest.fixture(scope="session")
def can_pull() -> bool:
    """Whether Docker can pull Lambda's image. Without Docker or the image, tests that need them are skipped."""
    return sam_local.require_image()


@pytest.fixture(scope="session")
def dev(*, can_pull: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with sam_local.dev(tmp_path_factory.mktemp("dev") / "output.log") as running:
        yield running


@pytest.fixture(scope="session")
def sam(*, can_pull: bool, dev: Dev, tmp_path_factory: pytest.TempPathFactory) -> Sam:
    return Sam(tmp_path_factory.mktemp("sam"), dev, pull=can_pull)


@pytest.fixture(scope="session")
def bus(dev: Dev) -> Bus:
    return Bus(dev.aws_url)
