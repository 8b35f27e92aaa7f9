"""The examples' templates."""

from typing import Final

from tests.support.paths import ROOT
from tests.support.templates import Source

EXAMPLES: Final = {path.parent.name: Source(path) for path in sorted(ROOT.glob("examples/*/template.yaml"))}
"""By the names of their folders."""
SUBSCRIBER: Final = EXAMPLES["subscriber"]
