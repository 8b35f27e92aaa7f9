"""`openai-webhooks dev`: the system stays up and prints a line for each delivery.

It also prints a line for each event that another receiver publishes to its bus.
"""

import queue
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from openai_webhooks_cli import dev_defaults
from openai_webhooks_cli.local.delivery_log import DeliveryLog
from openai_webhooks_cli.local.http_api import AnsweredDelivery
from openai_webhooks_cli.local.local_system import LocalSystem
from openai_webhooks_cli.local.moto_aws import LOOPBACK, docker_bridge_addresses


def run(console: Console, *, port: int, aws_port: int, secret: str, default_url: str) -> None:
    """Run until Ctrl-C. `default_url` is the URL that `send` uses without --url. Raises PortTakenError."""
    # A shell starts background jobs with SIGINT ignored.
    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop_signal, signal.default_int_handler)
    happenings: queue.SimpleQueue[AnsweredDelivery | dict[str, Any] | None] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="openai-webhooks-", ignore_cleanup_errors=True) as folder:
        log = Path(folder, "functions.log")
        try:
            with (
                console.status("Starting") as status,
                LocalSystem(
                    secret=secret,
                    log=log,
                    port=port,
                    aws_port=aws_port,
                    aws_hosts=[LOOPBACK, *docker_bridge_addresses()],
                    on_progress=status.update,
                    on_answer=happenings.put,
                ) as system,
            ):
                system.watch_bus(happenings.put)
                status.stop()
                url = system.http_api.url
                _print(console, f"URL     {url}\nSecret  {secret}\nAWS     {system.aws.url}\nLogs    {log}\n")
                option = "" if url == default_url else f" --url {url}"
                command = Path(sys.argv[0])
                _print(console, f"Send an event:\n  {command} send response.completed{option}\n")
                endpoint = "" if system.aws.url == dev_defaults.AWS_URL else f" --endpoint-url {system.aws.url}"
                _print(console, f"Try a command for deployed stacks:\n  {command} listen{endpoint}\n")
                _print(console, "Press Ctrl-C to stop.\n")
                _stop_on_signal(system, happenings)
                delivery_log = DeliveryLog(log)
                while (happening := happenings.get()) is not None:
                    if line := _line(system, happening, delivery_log):
                        _print(console, line)
        except KeyboardInterrupt:
            pass
    _print(console, "Stopped.")


def _stop_on_signal(system: LocalSystem, happenings: queue.SimpleQueue[Any]) -> None:
    """Let the first Ctrl-C end the loop, and a second one raise KeyboardInterrupt.

    An exception in a signal handler can be lost: Python ignores it if a finalizer is running.
    """

    def stop(*_: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        system.subscribers.begin_close()
        happenings.put(None)

    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop_signal, stop)


def _line(system: LocalSystem, happening: AnsweredDelivery | dict[str, Any], delivery_log: DeliveryLog) -> str | None:
    """Return the line for a delivery or an event on the bus. None if the event was delivered here: it has a line."""
    system.subscribers.wait_until_idle()
    reason = ""
    if isinstance(happening, AnsweredDelivery):
        event_type, event_id = happening.event_type, happening.event_id
        result, duration = f"{happening.status} {happening.outcome}", f"{happening.seconds * 1000:.0f} ms"
        reason = delivery_log.reason(happening.webhook_id)
    elif happening["detail"].get("id") in system.http_api.event_ids:
        return None
    else:
        # Another receiver published the event, for example a function in `sam local`.
        event_type, event_id = happening["detail-type"], happening["detail"].get("id", "")
        result, duration = "on the bus", ""
    line = f"{time.strftime('%H:%M:%S')}  {result:<18} {event_type:<32} {duration:>8}"
    if result in ("on the bus", "200 published"):
        line += f"  -> {', '.join(system.subscribers.reached(event_id)) or 'no subscriber'}"
    return f"{line}  {reason}".rstrip()


def _print(console: Console, text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)
