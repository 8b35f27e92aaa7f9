"""The receiver's handler with a clock that each invocation sets. It runs in the function's process.

With `MUTATION` in the environment, it first breaks the receiver as the function of that name in mutations.py does.
"""

import importlib
import os
import time
from typing import Any

import time_machine

_traveller = time_machine.travel(time.time()).start()
_real_time = time_machine.escape_hatch.time.time

if mutation := os.environ.get("MUTATION"):
    getattr(importlib.import_module("mutations"), mutation)()

receive = importlib.import_module("receiver.app").handler  # after the mutation, because importing creates the receiver


def handler(event: dict[str, Any], context: Any) -> Any:
    """Handle the event at the sender's time. The clock continues to run."""
    _traveller.move_to(_real_time() + context.client_context.custom["ahead"])
    return receive(event, context)
