"""What the page of `dev` shows, in every order in which its parts can arrive."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from openai_webhooks_cli.local.dev_page import DevPage
from openai_webhooks_cli.local.event_bridge import Verdict
from openai_webhooks_cli.local.http_api import AnsweredDelivery
from openai_webhooks_cli.local.subscribers import Arrival

EVENT: dict[str, Any] = {"id": "eb-1", "detail-type": "batch.failed", "detail": {"id": "evt_1"}}
VERDICT = Verdict("mine", ("OnBatch",), is_enabled=True, mismatch=None)
SUBSCRIBERS = [
    {"name": "OnBatch", "ok": True, "result": "null", "duration_ms": 100.0, "log": [], "attempt": 1},
    {
        "name": "OnFailure",
        "ok": False,
        "result": "KeyError, again",
        "duration_ms": 100.0,
        "log": ["line"],
        "attempt": 2,
    },
]

Step = Callable[[DevPage], None]


@pytest.fixture
def page() -> DevPage:
    return DevPage("http://127.0.0.1/", "whsec_", rules=lambda _: [VERDICT], run_again=print)


def answer(page: DevPage, outcome: str = "published") -> None:
    headers = {"webhook-id": "wh_1"}
    page.answered(AnsweredDelivery("batch.failed", "evt_1", headers, b"{}", 200, outcome, "", "eb-1", 0.1, ()))


STEPS: dict[str, Step] = {
    "answer": answer,
    "publish": lambda page: page.published(EVENT, elsewhere=False),
    "succeed": lambda page: page.arrived(Arrival("OnBatch", EVENT, "", None, 0.1, ())),
    "fail": lambda page: page.arrived(Arrival("OnFailure", EVENT, "KeyError", None, 0.1, ("line",), "", 2, "again")),
}


@pytest.mark.parametrize("order", list(itertools.permutations(STEPS)), ids=", ".join)
def test_delivery_is_one_record_in_any_order(page: DevPage, order: tuple[str, ...]) -> None:
    for step in order:
        STEPS[step](page)

    [(_, record)] = page.feed.changes_since(0)
    assert (record["kind"], record["bus_event"], record["status"]) == ("delivery", EVENT, 200)
    assert record["rules"] == [{"rule": "mine", "targets": ("OnBatch",), "matched": True, "reason": ""}]
    assert sorted(record["subscribers"], key=lambda subscriber: str(subscriber["name"])) == SUBSCRIBERS


def test_event_from_elsewhere_is_one_record(page: DevPage) -> None:
    STEPS["succeed"](page)
    page.published(EVENT, elsewhere=True)
    STEPS["fail"](page)

    [(_, record)] = page.feed.changes_since(0)
    assert (record["kind"], record["event_type"], record["subscribers"]) == ("event", "batch.failed", SUBSCRIBERS)


def test_duplicate_is_record_of_its_own(page: DevPage) -> None:
    answer(page)
    answer(page, "duplicate")
    STEPS["succeed"](page)

    subscribers = {record["outcome"]: record.get("subscribers") for _, record in page.feed.changes_since(0)}
    assert subscribers == {"duplicate": None, "published": SUBSCRIBERS[:1]}
