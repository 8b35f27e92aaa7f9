"""Promise 6: no secret, signature or payload is ever logged. Canaries are in all of them.

docs/guide/security.md lists what the log contains: the `webhook-id`, the event's type, and names of fields that our
classes declare. tests/integration/receiver/test_process_output.py looks at everything that a process writes.
"""

import re
from base64 import b64encode
from typing import Any

import pytest

from tests.support.canaries import CANARIES, CANARY_BODY, error_text, leaks
from tests.support.log_capture import every_log, text
from tests.support.receiver_instance import CANARY, ReceiverInstance, Start
from tests.support.scenarios import Played


class TestPromise6NoSecretSignatureOrPayloadIsLogged:
    """With every logger at DEBUG."""

    def test_logs_metrics_and_answer(self, played: Played) -> None:
        assert leaks(f"{played.written} {played.answer.headers} {played.answer.body}", played.request) == []

    def test_exception(self, played: Played) -> None:
        assert leaks(error_text(played.raised) if played.raised else "", played.request) == []
        assert (played.raised is None) == (played.answer.status == 200)

    def test_record(self, played: Played) -> None:
        for record in played.records:
            assert re.fullmatch("delivery#[0-9a-f]{64}", record["id"])
            assert re.fullmatch('"[0-9a-f-]{36}"', record.get("data", f'"{"0" * 36}"'))
            assert record.keys() <= {"id", "data", "status", "expiration", "in_progress_expiration"}

    @pytest.mark.parametrize("operation", ["GetSecretValue", "PutItem", "PutEvents", "UpdateItem"])
    def test_traceback_of_unexpected_error(self, operation: str, start: Start) -> None:
        """Lambda's runtime logs it."""

        def fail() -> None:
            raise RuntimeError("unexpected")

        with every_log() as records:
            receiver = start(log_level="DEBUG")
            receiver.before[operation] = fail
            delivery = receiver.delivery(CANARY_BODY)
            with pytest.raises(Exception, match=r"unexpected|idempotency store") as raised:
                receiver(delivery)
        assert leaks("".join([*receiver.output, text(records), error_text(raised.value)]), delivery) == []

    def test_repr_of_everything_kept(self, receiver: ReceiverInstance) -> None:
        assert receiver.deliver(CANARY_BODY).status == 200
        kept = vars(receiver.receiver)
        assert (
            leaks(
                repr(kept)
                + "".join(repr(vars(part)) for part in (kept["_deduplicator"], kept["_bus"], kept["_telemetry"]))
            )
            == []
        )


class TestDetection:
    """These tests would find a leak."""

    @pytest.mark.parametrize("before", ["", "x", "xy"])
    @pytest.mark.parametrize("spell", [bytes.decode, repr, bytes.hex, b64encode], ids=["text", "repr", "hex", "base64"])
    def test_canary_is_found_in_every_spelling(self, spell: Any, before: str) -> None:
        assert leaks(str(spell(before.encode() + f"...{CANARY}!!".encode()))) == [next(iter(CANARIES))]
