"""The chain, staying up: a line for each delivery, and for each event that comes onto the bus another way."""

import queue
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from webhooks.chain import Chain
from webhooks.embedded import LOOPBACK, docker_bridge
from webhooks.front import Answered


def run(console: Console, *, command: str, port: int, aws_port: int, secret: str) -> None:
    """Run until Ctrl-C. `command` is shown as the one that sends an event. Raises PortTakenError."""
    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell starts a background job with SIGINT ignored
        signal.signal(ending, signal.default_int_handler)
    happened: queue.SimpleQueue[Answered | dict[str, Any]] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="openai-webhooks-", ignore_cleanup_errors=True) as folder:
        log = Path(folder, "functions.log")
        try:
            with (
                console.status("Starting") as status,
                Chain(
                    secret=secret,
                    log=log,
                    port=port,
                    aws_port=aws_port,
                    aws_hosts=[LOOPBACK, *docker_bridge()],
                    progress=status.update,
                    answered=happened.put,
                ) as chain,
            ):
                chain.watch_bus(happened.put)
                status.stop()
                _print(
                    console, f"URL     {chain.front.url}\nSecret  {secret}\nAWS     {chain.aws.url}\nLogs    {log}\n"
                )
                _print(console, f"Send an event:\n  {command}\n\nCtrl-C ends it.\n")
                while True:
                    if line := _line(chain, happened.get()):
                        _print(console, line)
        except KeyboardInterrupt:
            _print(console, "Ended.")


def _line(chain: Chain, happening: Answered | dict[str, Any]) -> str | None:
    chain.subscribers.settle()
    if isinstance(happening, Answered):
        event_type, event_id, status, outcome, seconds = happening
        what, milliseconds = f"{status} {outcome}", f"{seconds * 1000:.0f} ms"
    elif happening["detail"].get("id") in chain.front.event_ids:
        return None
    else:
        # Published by another receiver, for instance one in `sam local`.
        event_type, event_id = happening["detail-type"], happening["detail"].get("id", "")
        what, milliseconds = "on the bus", ""
    line = f"{time.strftime('%H:%M:%S')}  {what:<18} {event_type:<32} {milliseconds:>8}"
    if what in ("on the bus", "200 published"):
        line += f"  -> {', '.join(chain.subscribers.reached(event_id)) or 'no subscriber'}"
    return line


def _print(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)
