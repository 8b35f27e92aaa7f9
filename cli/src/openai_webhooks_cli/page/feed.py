"""The records that the page shows, and their changes."""

import threading
from itertools import takewhile
from typing import Any, Final

Record = dict[str, Any]


class Feed:
    """The newest `limit` records. Threads can share it.

    Each change of a record increases the version of the feed. A record is never changed in place: a change replaces it,
    so that a thread can read a record while another thread changes it.
    """

    def __init__(self, limit: int = 5000) -> None:
        self.limit: Final = limit
        self._records: dict[int, Record] = {}
        self._versions: dict[int, int] = {}  # by record id, in the order of the versions
        self._version = 0
        self._last_id = 0
        self._closed = False
        self._changed = threading.Condition()

    @property
    def version(self) -> int:
        """The version of the newest change."""
        return self._version

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def add(self, **fields: Any) -> int:
        """Add a record and return its id. If the feed is full, drop the oldest record."""
        with self._changed:
            self._last_id += 1
            self._store(self._last_id, fields)
            if len(self._records) > self.limit:
                oldest = next(iter(self._records))
                del self._records[oldest], self._versions[oldest]
            return self._last_id

    def update(self, record_id: int, **fields: Any) -> None:
        """Change fields of a record. Do nothing if the feed has dropped the record."""
        with self._changed:
            if record_id in self._records:
                self._store(record_id, self._records[record_id] | fields)

    def get(self, record_id: int) -> Record | None:
        """Return a record, or None if the feed has dropped it."""
        with self._changed:
            return self._records.get(record_id)

    def changes_since(self, version: int) -> list[tuple[int, Record]]:
        """Return each record that has changed since `version`, with its own newest version, in their order."""
        with self._changed:
            newer = takewhile(lambda change: change[1] > version, reversed(self._versions.items()))
            return [(changed, self._records[record_id]) for record_id, changed in newer][::-1]

    def wait(self, version: int, timeout: float) -> bool:
        """Wait for a change after `version`, for at most `timeout` seconds, or until the feed closes.

        Return whether there is a change.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._version > version, timeout)
            return self._version > version

    def close(self) -> None:
        """Stop all waiting, now and in the future."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _store(self, record_id: int, fields: Record) -> None:
        self._version += 1
        self._records[record_id] = {**fields, "id": record_id}
        self._versions.pop(record_id, None)  # the new version goes to the end
        self._versions[record_id] = self._version
        self._changed.notify_all()
