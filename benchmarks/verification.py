"""The verification alone, in this process: ours and the standard library's hmac, called in turn."""

import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.contenders.shared import bare
from openai_webhooks import decode_secret, verify
from webhooks import samples

CALLS = 500


class Verifications(NamedTuple):
    """CPU seconds for one, in each round."""

    ours: list[float]
    bare: list[float]


def verifications(rounds: int) -> Verifications:
    now = int(time.time())
    body = samples.encode(samples.sample("response.completed", created_at=now))
    headers = samples.headers(body, secret=samples.DEVELOPMENT_SECRET, timestamp=now, webhook_id=samples.new_id("wh_"))
    key = decode_secret(samples.DEVELOPMENT_SECRET)
    keys = [key]
    result = Verifications([], [])
    for _ in range(rounds):
        result.ours.append(_seconds(lambda: verify(body, headers, keys=keys, now=int(time.time()))))
        result.bare.append(_seconds(lambda: bare.is_authentic(body, headers, key)))
    return result


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - began) / CALLS
