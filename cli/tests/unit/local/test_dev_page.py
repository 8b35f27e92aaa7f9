"""What the page of `dev` shows, in every order in which its parts can arrive."""

import itertools
from collections.abc import Callable
from typing import Any

from openai_webhooks_cli.local.dev_page import DevPage
from openai_webhooks_cli.local.http_api import AnsweredDelivery
from openai_webhooks_cli.local.subscribers import Arrival

EVENT: dict[str, Any] = {"id": "eb-1", "detail-type": "batch.failed", "detail": {"id": "evt_1"}}

Step = Callable[[DevPage], None]


def answer(page: DevPage, outcome: str = "published") -> None:
    headers = {"webhook-id": "wh_1"}
    page.answered(AnsweredDelivery("batch.failed", "evt_1", headers, b"{}", 200, outcome, "", "eb-1", 0.1, ()))


def publish(page: DevPage) -> None:
    page.published(EVENT, elsewhere=False)


def arrive(page: DevPage, name: str) -> None:
    page.arrived(Arrival(name, EVENT, "", None, 0.1, ()))


STEPS: list[Step] = [
    answer,
    publish,
    lambda page: arrive(page, "OnBatch"),
    lambda page: arrive(page, "OnFailure"),
]


def test_delivery_is_one_record_in_any_order() -> None:
    for order in itertools.permutations(STEPS):
        page = DevPage("http://127.0.0.1/", "whsec_")
        for step in order:
            step(page)

        case = [STEPS.index(step) for step in order]
        [(_, record)] = page.feed.changes_since(0)
        assert (record["bus_event"], record["status"]) == (EVENT, 200), case
        assert {subscriber["name"] for subscriber in record["subscribers"]} == {"OnBatch", "OnFailure"}, case


def test_event_from_elsewhere_is_one_record() -> None:
    page = DevPage("http://127.0.0.1/", "whsec_")
    arrive(page, "OnBatch")
    page.published(EVENT, elsewhere=True)
    arrive(page, "OnFailure")

    [(_, record)] = page.feed.changes_since(0)
    assert record["kind"] == "event"
    assert len(record["subscribers"]) == 2


def test_duplicate_is_record_of_its_own() -> None:
    page = DevPage("http://127.0.0.1/", "whsec_")
    answer(page)
    answer(page, "duplicate")
    arrive(page, "OnBatch")

    first, second = page.feed.changes_since(0)
    records = {record["outcome"]: record for _, record in (first, second)}
    assert len(records["published"]["subscribers"]) == 1
    assert "subscribers" not in records["duplicate"]
