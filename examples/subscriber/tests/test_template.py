"""Which of the subscriber's functions gets which event. examples/tests/ checks what all examples have in common."""

from typing import Final

from examples.tests.support.templates import SUBSCRIBER, reached
from openai_webhooks import CATALOG

STACK: Final = SUBSCRIBER.defaults
COMPLETED: Final = "OnResponseCompletedFunction"
BATCH: Final = "OnBatchFunction"
FAILURE: Final = "OnFailureFunction"
CALL: Final = "OnCallFunction"

LIKE_A_PATTERN: Final[dict[str, set[str]]] = {
    "batch.paused": {BATCH},
    "image.failed": {FAILURE},
    **{
        event_type: set()
        for event_type in (
            *(
                "batch",
                "mini_batch.completed",
                "Batch.completed",
                "failed",
                "response.failed_over",
                "batches.completed",
            ),
            *("response.completed.twice", "old.response.completed", "realtime.call.incoming.sip", "prefailed"),
        )
    },
}
"""Event types that do not exist, and the functions that they reach."""


def test_event_type_reaches_its_functions() -> None:
    of_family = {
        event_type: {
            *({COMPLETED} if event_type == "response.completed" else ()),
            *({BATCH} if event_type.startswith("batch.") else ()),
            *({FAILURE} if event_type.endswith(".failed") else ()),
            *({CALL} if event_type == "realtime.call.incoming" else ()),
        }
        for event_type in CATALOG
    }
    expected = of_family | LIKE_A_PATTERN

    assert {event_type: reached(STACK, event_type) for event_type in expected} == expected


def test_only_events_of_source_parameter_reach_functions() -> None:
    mine = SUBSCRIBER.at(EventSource="mine")

    for event_type in ("response.completed", "batch.failed", "realtime.call.incoming"):
        assert reached(mine, event_type, source="mine") == reached(STACK, event_type) != set()
        assert reached(mine, event_type) == set()
        for source in ("", "openai", "openai.com.example", "api.openai.com", "OpenAI.com", "aws.events"):
            assert reached(STACK, event_type, source=source) == set(), source
