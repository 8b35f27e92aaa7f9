"""`openai-webhooks dev` with the example, and `sam local` with its AWS."""

from collections.abc import Iterator

import pytest

from cli.tests.e2e.conftest import bus, can_pull, sam
from cli.tests.support import sam_local
from cli.tests.support.sam_local import Dev
from tests.support.paths import ROOT

__all__ = ["bus", "can_pull", "sam"]


@pytest.fixture(scope="session")
def dev(*, can_pull: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    template = ROOT / "examples/subscriber/template.yaml"
    with sam_local.dev(tmp_path_factory.mktemp("dev") / "output.log", f"--template={template}") as running:
        yield running
