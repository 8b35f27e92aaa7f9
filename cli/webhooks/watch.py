"""The chain, staying up: a line for each delivery."""

import json
import queue
import signal
import tempfile
import time
from pathlib import Path

from rich.console import Console

from webhooks.chain import Answered, Chain


def run(console: Console, *, command: str, port: int, aws_port: int, secret: str) -> None:
    """Run until Ctrl-C. `command` is shown as the one that sends an event. Raises PortTakenError."""
    for ending in (signal.SIGINT, signal.SIGTERM):  # a shell starts a background job with SIGINT ignored
        signal.signal(ending, signal.default_int_handler)
    answers: queue.SimpleQueue[Answered] = queue.SimpleQueue()
    with tempfile.TemporaryDirectory(prefix="openai-webhooks-", ignore_cleanup_errors=True) as folder:
        log = Path(folder, "functions.log")
        try:
            with (
                console.status("Starting") as status,
                Chain(
                    secret=secret, log=log, port=port, aws_port=aws_port, progress=status.update, answered=answers.put
                ) as chain,
            ):
                status.stop()
                for name, value in {"URL": chain.url, "Secret": secret, "AWS": chain.aws.url, "Logs": str(log)}.items():
                    console.print(f"{name:8}{value}", soft_wrap=True, highlight=False)
                console.print(f"\nSend an event:\n  {command}\n\nCtrl-C ends it.\n", soft_wrap=True, highlight=False)
                while True:
                    answer = answers.get()
                    chain.settle()
                    console.print(_line(chain, answer), soft_wrap=True, highlight=False, markup=False)
        except KeyboardInterrupt:
            console.print("Ended.")


def _line(chain: Chain, answer: Answered) -> str:
    try:
        event = json.loads(answer.body)
        event_type, event_id = event["type"], event["id"]
    except (ValueError, TypeError, KeyError):
        event_type, event_id = "?", ""
    outcome = answer.answer.get("outcome") or answer.answer.get("error") or answer.answer.get("message")
    reached = f"-> {', '.join(chain.reached(event_id)) or 'no subscriber'}" if outcome == "published" else ""
    clock = time.strftime("%H:%M:%S")
    return f"{clock}  {answer.status} {outcome:<14} {event_type:<32} {answer.seconds * 1000:4.0f} ms  {reached}"
