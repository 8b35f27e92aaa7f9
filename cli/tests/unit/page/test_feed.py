"""The records that the page shows."""

import threading

from openai_webhooks_cli.page.feed import Feed


def test_ids_increase() -> None:
    feed = Feed()

    assert [feed.add(time=1.0), feed.add(time=2.0)] == [1, 2]


def test_record_has_its_id_and_fields() -> None:
    feed = Feed()
    record_id = feed.add(time=1.0, kind="delivery")

    feed.update(record_id, status=200)

    assert feed.get(record_id) == {"id": record_id, "time": 1.0, "kind": "delivery", "status": 200}


def test_update_leaves_records_that_were_read_unchanged() -> None:
    feed = Feed()
    record_id = feed.add(status=None)
    before = feed.get(record_id)

    feed.update(record_id, status=200)

    assert before == {"id": record_id, "status": None}


def test_changed_record_appears_once_with_newest_version() -> None:
    feed = Feed()
    first, second = feed.add(), feed.add()
    feed.update(first, status=200)
    feed.update(first, status=500)

    assert feed.changes_since(0) == [(2, {"id": second}), (4, {"id": first, "status": 500})]


def test_older_changes_are_left_out() -> None:
    feed = Feed()
    feed.add()
    second = feed.add()

    assert feed.changes_since(1) == [(2, {"id": second})]
    assert feed.changes_since(feed.version) == []


def test_full_feed_drops_oldest_record() -> None:
    feed = Feed(limit=2)
    first = feed.add()
    second = feed.add()
    feed.update(first, status=200)  # the oldest record, although it has changed last

    third = feed.add()

    assert [record["id"] for _, record in feed.changes_since(0)] == [second, third]
    assert feed.get(first) is None


def test_update_of_dropped_record_changes_nothing() -> None:
    feed = Feed(limit=1)
    first = feed.add()
    feed.add()
    version = feed.version

    feed.update(first, status=200)

    assert feed.version == version


def test_wait_returns_at_once_if_there_is_a_change() -> None:
    feed = Feed()
    feed.add()

    assert feed.wait(0, timeout=60)


def test_wait_ends_without_change_after_timeout() -> None:
    assert not Feed().wait(0, timeout=0)


def test_change_ends_wait() -> None:
    feed = Feed()
    results: list[bool] = []
    waiting = threading.Thread(target=lambda: results.append(feed.wait(0, timeout=60)))
    waiting.start()

    feed.add()
    waiting.join(10)

    assert results == [True]


def test_close_ends_wait() -> None:
    feed = Feed()
    results: list[bool] = []
    waiting = threading.Thread(target=lambda: results.append(feed.wait(0, timeout=60)))
    waiting.start()

    feed.close()
    waiting.join(10)

    assert results == [False]
    assert not feed.wait(0, timeout=60)


def test_threads_add_without_losing_records() -> None:
    feed = Feed()
    threads = [threading.Thread(target=lambda: [feed.add() for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert sorted(record["id"] for _, record in feed.changes_since(0)) == list(range(1, 801))
