"""The patterns in the subscriber's README match the events that the README names."""

import json
import re
from typing import Any, Final

import pytest
import yaml
from moto.events.models import EventPattern

from openai_webhooks import CATALOG
from tests.support.paths import ROOT
from tests.support.templates import SUBSCRIBER

README: Final = (ROOT / "examples/subscriber/README.md").read_text()
PATTERNS: Final = re.findall(r"^\| .+ \| `(\{ source: .+ \})` \|$", README, re.MULTILINE)
SOURCE: Final = SUBSCRIBER.defaults.parameters["EventSource"]["Default"]
RESOURCE: Final = "resp_123"

MATCHED: Final = [
    {"response.completed"},
    {"response.completed", "response.incomplete"},
    {event_type for event_type in CATALOG if event_type.startswith("batch.")},
    {event_type for event_type in CATALOG if event_type.endswith(".failed")},
    {event_type for event_type in CATALOG if not event_type.startswith("safety")},
    set(CATALOG),
]
"""The event types that each pattern matches, in the order of the README's table."""


def event(event_type: str, *, source: str = SOURCE, resource: str = RESOURCE) -> Any:
    return {"source": source, "detail-type": event_type, "detail": {"type": event_type, "data": {"id": resource}}}


@pytest.mark.parametrize(("pattern", "matched"), list(zip(PATTERNS, MATCHED, strict=True)), ids=PATTERNS)
def test_pattern_matches_only_named_types(pattern: str, matched: set[str]) -> None:
    loaded = EventPattern.load(json.dumps(yaml.safe_load(pattern)))

    assert {event_type for event_type in CATALOG if loaded.matches_event(event(event_type))} == matched
    assert not any(loaded.matches_event(event(event_type, source="example.com")) for event_type in CATALOG)


def test_pattern_of_resource_matches_only_that_resource() -> None:
    [pattern] = [pattern for pattern in PATTERNS if RESOURCE in pattern]
    loaded = EventPattern.load(json.dumps(yaml.safe_load(pattern)))

    assert not loaded.matches_event(event("response.completed", resource=f"{RESOURCE}4"))
