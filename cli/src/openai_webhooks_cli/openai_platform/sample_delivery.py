"""A sample event that OpenAI delivers to an endpoint, followed from OpenAI to the bus."""

import time
from collections.abc import Sequence
from typing import NamedTuple

from openai_webhooks_cli.aws.rules import handled_types
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.aws.tap import Tap, open_tap
from openai_webhooks_cli.openai_platform.endpoints import Endpoint, OpenAIApi
from openai_webhooks_cli.shell.stop import Stop

ARRIVAL_TIMEOUT = 60  # seconds
# An instance of the receiver reads the secret again at most twice in 10 s, so it may refuse the first samples.
RETRY_AFTER_STORING = 20  # seconds
_RETRY_PAUSE = 3  # seconds


class Followed(NamedTuple):
    """What happened to the sample. Times are in seconds after OpenAI was asked to send it."""

    event_type: str
    status: int
    """The status code of the receiver's answer to OpenAI."""
    answered_after: float
    arrived_after: float | None
    """None if the event did not get to the bus."""

    @property
    def is_accepted(self) -> bool:
        return 200 <= self.status < 300


def choose_type(stack: Stack, types: Sequence[str]) -> str:
    """Return a type that no rule matches, so that no subscriber gets the sample, or else the first type."""
    handled = handled_types(stack, types)
    return next((event_type for event_type in types if event_type not in handled), types[0])


def follow(
    stack: Stack, api: OpenAIApi, endpoint: Endpoint, event_type: str, stop: Stop, *, retry_for: float = 0
) -> Followed:
    """Let OpenAI deliver a sample, and wait for it on the bus. Refusals are retried for `retry_for` seconds.

    Other events of the type that arrive at the same time cannot be told from the sample.
    """
    pattern = {"source": [stack.event_source], "detail-type": [event_type], "replay-name": [{"exists": False}]}
    with open_tap(stack, [pattern], stop) as tap:
        started, status = _deliver(api, endpoint, event_type, stop, retry_for=retry_for)
        answered_after = time.monotonic() - started
        followed = Followed(event_type, status, answered_after, None)
        if followed.is_accepted and _arrives(tap, since=stack.now() - answered_after - 1, stop=stop):
            followed = followed._replace(arrived_after=time.monotonic() - started)
        return followed


def _deliver(api: OpenAIApi, endpoint: Endpoint, event_type: str, stop: Stop, *, retry_for: float) -> tuple[float, int]:
    """Return when the last delivery started, and the status code of the receiver's answer."""
    deadline = time.monotonic() + retry_for
    while True:
        started = time.monotonic()
        status = api.test(endpoint.id, event_type)
        if status not in (401, 503) or time.monotonic() + _RETRY_PAUSE > deadline:
            return started, status
        stop.wait(_RETRY_PAUSE)


def _arrives(tap: Tap, *, since: float, stop: Stop) -> bool:
    deadline = time.monotonic() + ARRIVAL_TIMEOUT
    while time.monotonic() < deadline:
        stop.check()
        if any(not tap.is_probe(message) and message.sent_at >= since for message in tap.receive(wait=2)):
            return True
    return False
