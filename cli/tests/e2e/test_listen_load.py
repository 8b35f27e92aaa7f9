"""`openai-webhooks listen` under load: 2,000 events within a minute."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from cli.tests.support.deployed_receiver import DeployedReceiver, deploy_receiver
from cli.tests.support.local_server import local_server
from tests.support.background import wait_until

EVENTS = 2000
WARM_UP = 200


def test_each_event_is_forwarded_once_in_order(tmp_path: Path) -> None:
    output = tmp_path / "output.ndjson"
    command = str(Path(sys.executable).with_name("openai-webhooks"))
    receiver = deploy_receiver()
    with local_server() as server, output.open("w") as file:
        arguments = [command, "listen", "--json", f"--forward-to={server.url}", f"--max={EVENTS}"]
        with subprocess.Popen(arguments, stdout=file, env=os.environ | receiver.environment) as process:
            wait_until(lambda: '"ready"' in output.read_text(), "listen")
            start = time.monotonic()
            ids = publish(receiver, 0, WARM_UP)
            wait_until(lambda: len(server.requests) == WARM_UP, "the first events")
            memory = resident_bytes(process.pid)
            # moto takes longer for each message the more of them wait.
            for first in range(WARM_UP, EVENTS, WARM_UP):
                ids += publish(receiver, first, first + WARM_UP)
                wait_until(lambda first=first: len(server.requests) >= first, "the events before")  # type: ignore[misc]
            wait_until(lambda: len(server.requests) >= EVENTS - 1, "all events", seconds=120)
            growth = resident_bytes(process.pid) / memory - 1
            process.wait(30)
            seconds = time.monotonic() - start
        assert receiver.leftovers() == []

    records = [json.loads(line) for line in output.read_text().splitlines()]
    assert [record["event"]["detail"]["id"] for record in records if record["type"] == "event"] == ids
    assert [request.headers["webhook-id"] for request in server.requests] == ids
    assert growth < 0.05
    assert seconds < 60


def publish(receiver: DeployedReceiver, start: int, end: int) -> list[str]:
    """Put events on the bus, ten at a time. Return their ids."""
    events = receiver.client("events")
    ids = [f"evt_{number}" for number in range(start, end)]
    for first in range(0, len(ids), 10):
        entries = [
            {
                "EventBusName": receiver.bus,
                "Source": "openai.com",
                "DetailType": "video.completed",
                "Detail": json.dumps({"id": event_id, "type": "video.completed", "created_at": int(time.time())}),
            }
            for event_id in ids[first : first + 10]
        ]
        events.put_events(Entries=entries)
    return ids


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
