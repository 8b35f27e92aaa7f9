"""The receiver's own lines about deliveries, in the file that the functions' output goes to."""

import json
from pathlib import Path
from typing import Any


class DeliveryLog:
    """Reads the lines as they appear in the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = 0
        self._lines: dict[str, dict[str, Any]] = {}

    def reason(self, webhook_id: str) -> str:
        """Return why the receiver rejected the last delivery with this id, or "" if it accepted the delivery."""
        self._read()
        return str(self._lines.pop(webhook_id[:128], {}).get("reason", ""))

    def _read(self) -> None:
        with self._path.open("rb") as file:
            file.seek(self._position)
            whole, newline, _ = file.read().rpartition(b"\n")  # the last line may be incomplete
        self._position += len(whole) + len(newline)
        for line in whole.splitlines():
            if line.startswith(b'{"_aws"'):
                fields = json.loads(line)
                self._lines[fields.get("webhook_id", "")] = fields
