"""Promise 6: no secret, signature or payload is ever logged. Canaries are in all of them.

docs/guide/security.md lists what the log contains: the `webhook-id`, the event's type, and names of fields that our
classes declare. tests/integration/receiver/test_process_output.py looks at everything that a process writes.
"""

import pytest

from tests.support.canaries import CANARY_BODY, error_text, leaks
from tests.support.log_capture import every_log, text
from tests.support.receiver_instance import ReceiverInstance, Start


class TestPromise6NoSecretSignatureOrPayloadIsLogged:
    """With every logger at DEBUG. test_scenarios.py checks the log, the answer, the table and the exceptions."""

    @pytest.mark.parametrize("operation", ["GetSecretValue", "PutItem", "PutEvents", "UpdateItem"])
    def test_traceback_of_unexpected_error_leaks_nothing(self, operation: str, start: Start) -> None:
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

    def test_repr_of_every_part_leaks_nothing(self, receiver: ReceiverInstance) -> None:
        assert receiver.deliver(CANARY_BODY).status == 200
        kept = vars(receiver.receiver)
        parts = [kept, *(vars(kept[name]) for name in ("_deduplicator", "_bus", "_telemetry"))]
        assert leaks(repr(parts)) == []
