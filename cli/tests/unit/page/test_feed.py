"""The records that the page shows."""

import threading

import pytest

from openai_webhooks_cli.page.feed import Feed


def test_update_replaces_record_that_was_read() -> None:
    feed = Feed()
    record_id = feed.add(time=1.0, status=None)
    before = feed.get(record_id)

    feed.update(record_id, status=200)

    assert before == {"id": record_id, "time": 1.0, "status": None}
    assert feed.get(record_id) == {"id": record_id, "time": 1.0, "status": 200}


def test_changed_record_appears_once_with_newest_version() -> None:
    feed = Feed()
    first, second = feed.add(), feed.add()
    feed.update(first, status=200)
    feed.update(first, status=500)

    assert feed.changes_since(0) == [(2, {"id": second}), (4, {"id": first, "status": 500})]
    assert feed.changes_since(2) == [(4, {"id": first, "status": 500})]
    assert feed.changes_since(feed.version) == []


def test_full_feed_drops_oldest_record() -> None:
    feed = Feed(limit=2)
    first, second = feed.add(), feed.add()
    feed.update(first, status=200)  # the oldest record, although it has changed last
    third = feed.add()
    version = feed.version

    feed.update(first, status=500)

    assert [record["id"] for _, record in feed.changes_since(0)] == [second, third]
    assert (feed.get(first), feed.version) == (None, version)


@pytest.mark.parametrize("has_change", [True, False], ids=["change", "close"])
def test_wait_in_another_thread_ends(*, has_change: bool) -> None:
    feed = Feed()
    assert not feed.wait(0, timeout=0)
    results: list[bool] = []
    waiting = threading.Thread(target=lambda: results.append(feed.wait(0, timeout=60)))
    waiting.start()

    if has_change:
        feed.add()
    else:
        feed.close()
    waiting.join(10)

    assert results == [has_change]
    assert feed.wait(0, timeout=60) == has_change  # at once
