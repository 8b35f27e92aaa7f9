"""Measure the verification only, in this process: ours, and the standard library's hmac."""

import time
from collections.abc import Callable
from typing import NamedTuple

from evidence.benchmarks.contenders.shared import hmac_verification
from openai_webhooks import decode_secret, verify
from openai_webhooks_cli import samples

CALLS = 500


class Verifications(NamedTuple):
    """CPU seconds per verification, in each round."""

    ours: list[float]
    no_aws: list[float]


def verifications(rounds: int) -> Verifications:
    """Measure both in turn."""
    now = int(time.time())
    body = samples.encode(samples.sample("response.completed", created_at=now))
    headers = samples.headers(body, secret=samples.DEVELOPMENT_SECRET, timestamp=now, webhook_id=samples.new_id("wh_"))
    key = decode_secret(samples.DEVELOPMENT_SECRET)
    keys = [key]
    result = Verifications([], [])
    for _ in range(rounds):
        result.ours.append(_seconds(lambda: verify(body, headers, keys=keys, now=int(time.time()))))
        result.no_aws.append(_seconds(lambda: hmac_verification.is_authentic(body, headers, key)))
    return result


def _seconds(call: Callable[[], object]) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        call()
    return (time.process_time() - began) / CALLS
