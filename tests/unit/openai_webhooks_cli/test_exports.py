"""The package exports every event class."""

from openai_webhooks_cli.exports import event_exports
from tests.support.paths import ROOT


def test_exports_are_current() -> None:
    exported = (ROOT / "src/openai_webhooks/__init__.py").read_text()

    assert event_exports() in exported, "src/openai_webhooks/__init__.py is stale: run `make generate`"
