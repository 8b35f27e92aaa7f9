"""No secret, signature or payload is ever logged: canaries in all of them, and whatever the function says.

What the log may hold of a delivery is in docs/security.md: `webhook-id`, the event's type, and the names of fields
that our classes declare.
"""

import asyncio
import json
import logging
import re
import sysconfig
import time
import traceback
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from proof.runtime import Instance, InvocationError

if TYPE_CHECKING:
    from tests.integration.receiver.conftest import Played, Receiver, Stack, Start

SECRET: Final = "RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="  # behind `whsec_`
SOURCE: Final = Path(__file__).parents[3] / "src"
OTHER_SECRET: Final = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
BODY: Final = b'{"id": "canary-7d1f", "type": "batch.completed", "created_at": 1, "data": {"id": "canary-7d1f"}}'

CANARIES: Final = {
    "a payload, an unusable secret or a message of AWS's": b"canary-7d1f",
    "a payload": b"resp_123",
    "an event's id": b"evt_685c059ae3a481909bdc86819b066fb6",
    "the signing secret": SECRET.encode(),
    "the signing key": b64decode(SECRET),
}


def leaks(said: str, event: dict[str, Any] | None = None) -> list[str]:
    """What of the canaries, and of the signatures in an event's header, was said."""
    header = ((event or {}).get("headers") or {}).get("webhook-signature", "")
    signatures = {f"signature {n}": token[3:].encode() for n, token in enumerate(header.split()) if token[3:]}
    return [what for what, canary in (CANARIES | signatures).items() if any(text in said for text in spellings(canary))]


def spellings(canary: bytes) -> Iterator[str]:
    """As it is, in hex, and in base64 wherever it begins, less what its neighbours there change."""
    yield repr(canary)[2:-1]
    yield canary.hex()
    for begins, changed in enumerate((0, 2, 3)):
        yield b64encode(bytes(begins) + canary).decode().rstrip("=")[changed:-1]


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and all from or during which it was raised."""
    if error:
        yield error
        yield from chain(error.__cause__)
        yield from chain(error.__context__)


def text(error: BaseException) -> str:
    return "".join(f"{e} {e!r} {e.args}" for e in chain(error)) + "".join(traceback.format_exception(error))


class TestEveryOutcome:
    """With every logger at DEBUG."""

    def test_logs_metrics_and_answer(self, played: "Played") -> None:
        assert leaks(f"{played.written} {played.answer.headers} {played.answer.body}", played.event) == []

    def test_exception(self, played: "Played") -> None:
        assert leaks(text(played.raised) if played.raised else "", played.event) == []
        assert (played.raised is None) == (played.answer.status == 200)

    def test_record(self, played: "Played") -> None:
        for record in played.records:
            assert re.fullmatch("delivery#[0-9a-f]{64}", record.pop("id"))
            assert record.pop("data", None) in {None, '"Published"'}
            assert record.keys() == {"status", "expiration", "in_progress_expiration"}


class TestUnexpected:
    """What is nobody's doing, and ends an invocation: Lambda's runtime writes its traceback out."""

    @pytest.mark.parametrize("operation", ["GetSecretValue", "PutItem", "PutEvents", "UpdateItem"])
    def test_traceback(self, operation: str, start: "Start", every_log: list[logging.LogRecord]) -> None:
        def fail() -> None:
            raise RuntimeError("out of the blue")

        receiver = start(POWERTOOLS_LOG_LEVEL="DEBUG")
        receiver.before[operation] = fail
        delivery = receiver.delivery(BODY)
        with (
            pytest.raises(Exception, match=r"out of the blue|idempotency store") as raised,
            pytest.warns(UserWarning, match="No application metrics"),
        ):
            receiver(delivery)
        written = "".join([*receiver.output, *map(logging.Formatter().format, every_log)])
        assert leaks(written + text(raised.value), delivery) == []

    def test_repr(self, receiver: "Receiver") -> None:
        """Of all that the function keeps."""
        assert receiver.deliver(BODY).status == 200
        assert leaks(repr(vars(receiver.app)) + repr(vars(receiver.app.deliveries))) == []


VERBOSE: Final = {
    "AWS_LAMBDA_LOG_FORMAT": "JSON",  # without it, the runtime doesn't heed the level
    "AWS_LAMBDA_LOG_LEVEL": "DEBUG",
    "POWERTOOLS_DEBUG": "true",
    "POWERTOOLS_DEV": "true",
    "POWERTOOLS_LOGGER_LOG_EVENT": "true",
    "POWERTOOLS_LOGGER_SAMPLE_RATE": "1",
    "POWERTOOLS_LOG_LEVEL": "DEBUG",
}
"""Every switch by which an environment can make the function say more."""


class TestProcess:
    """All that a process writes, under Lambda's own runtime client."""

    def test_with_every_switch_on(self, stack: "Stack", receiver: "Receiver", tmp_path: Path) -> None:
        pytest.importorskip("awslambdaric")  # which is for Linux
        receiver.clock.now = time.time()
        genuine = receiver.delivery(BODY)
        events = [
            genuine,
            genuine,
            receiver.delivery(BODY.replace(b'"id"', b'"canary-7d1f"'), webhook_id="wh_drift"),
            receiver.delivery(BODY[1:]),
            receiver.delivery(BODY, secret=OTHER_SECRET),
            genuine | {"headers": [*genuine["headers"].values()]},  # which API Gateway never sends
        ]
        log = tmp_path / "log"
        answers = asyncio.run(invoke(events, stack.environment | VERBOSE, log))

        *answered, crashed = answers
        assert [json.loads(answer)["statusCode"] for answer in answered] == [200, 200, 200, 400, 401]
        assert json.loads(crashed)["errorType"] == "AttributeError"
        written = log.read_text()
        for logger in ("aws_lambda_powertools.utilities.idempotency", "urllib3.connectionpool"):
            assert re.search(rf'"level": "DEBUG".*"logger": "{logger}', written)
        assert [leaks(written + "".join(answers), event) for event in events[:-1]] == [[]] * 5


async def invoke(events: list[dict[str, Any]], environment: dict[str, str], log: Path) -> list[str]:
    """What an instance answers to each event, be it an error. All that it writes goes into the log."""
    runtime = {"_HANDLER": "receiver.app.handler", "PYTHONPATH": sysconfig.get_path("purelib")}
    with log.open("wb") as output:
        instance = await Instance.start([SOURCE], environment | runtime, stdout=output.fileno(), stderr=output.fileno())
        try:
            return [await answer(instance, event) for event in events]
        finally:
            instance.kill()


async def answer(instance: Instance, event: dict[str, Any]) -> str:
    try:
        return (await instance.invoke(json.dumps(event).encode(), seconds=10)).decode()
    except InvocationError as error:
        return str(error)


class TestTheseTests:
    """They would notice."""

    @pytest.mark.parametrize("before", ["", "x", "xy"])
    @pytest.mark.parametrize("spell", [bytes.decode, repr, bytes.hex, b64encode], ids=["text", "repr", "hex", "base64"])
    def test_in_whichever_spelling(self, spell: Any, before: str) -> None:
        assert leaks(str(spell(before.encode() + b"...canary-7d1f!!"))) == [next(iter(CANARIES))]

    def test_what_botocore_says(self, receiver: "Receiver", every_log: list[logging.LogRecord]) -> None:
        logging.getLogger("botocore").setLevel(logging.DEBUG)
        receiver.deliver()
        written = "\n".join(map(logging.Formatter().format, every_log))
        assert {"a payload", "an event's id", "the signing secret"} <= set(leaks(written))
        assert {"aws_lambda_powertools", "botocore", "receiver", "urllib3"} <= {
            record.name.split(".")[0] for record in every_log
        }
