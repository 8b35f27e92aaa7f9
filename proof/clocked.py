"""The receiver's handler under a clock that its invocations set: put beside the artefact in the function's process."""

import time
from typing import Any

import time_machine

from receiver.app import handler as receive

_traveller = time_machine.travel(time.time()).start()
_real_time = time_machine.escape_hatch.time.time


def handler(event: dict[str, Any], context: Any) -> Any:
    """Handle the event at the time at which it is, by the sender's clock, and let that clock go on."""
    _traveller.move_to(_real_time() + context.client_context.custom["ahead"])
    return receive(event, context)
