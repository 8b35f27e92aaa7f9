import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evidence.fuzz import unwrap, verify
from evidence.fuzz.deliveries import CORPUS, Delivery, samples
from evidence.fuzz.oracle import Finding, event_type, is_authentic
from openai_webhooks import Malformed, Unverified, WebhookEvent
from tests.support.paths import ROOT

_, SAMPLE = next(samples())
FORGED = SAMPLE.replace(b"evt_", b"evl_")


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a new process, because the function reads its environment when it is imported."""
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)


def test_corpus_has_no_findings() -> None:
    result = python("-m", "evidence.fuzz", "--replay")
    count = len(list(CORPUS.iterdir())) + len(list(samples()))
    assert result.stdout == "".join(f"{target}: {count} deliveries\n" for target in ("verify", "unwrap", "handler"))
    assert (result.returncode, result.stderr) == (0, "")


def test_finding_is_reported_with_its_input(tmp_path: Path) -> None:
    harmless = tmp_path / "harmless"
    harmless.write_bytes(SAMPLE)
    code = "from evidence.fuzz import __main__ as fuzz, verify; verify.NOW = 0; fuzz.main()"
    result = python("-c", code, "--replay", str(harmless), "--targets", "verify")
    assert result.returncode == 1
    assert result.stderr.startswith("verify, harmless:\nTraceback")
    assert "refused a signed delivery" in result.stderr


def accept(*_: object, **__: object) -> None:
    pass


def refuse(*_: object, **__: object) -> None:
    raise Unverified


def fail(*_: object, **__: object) -> None:
    raise ValueError


@pytest.mark.parametrize(
    ("mutant", "data", "error"),
    [
        pytest.param(accept, FORGED, Finding, id="accepts forgeries"),
        pytest.param(refuse, SAMPLE, Finding, id="refuses signed deliveries"),
        pytest.param(fail, FORGED, ValueError, id="raises another error"),
    ],
)
def test_verify_target_detects_mutant(
    mutant: Callable[..., None], data: bytes, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    verify.execute(data)
    monkeypatch.setattr(verify, "verify", mutant)
    with pytest.raises(error):
        verify.execute(data)


def malformed(_: bytes) -> WebhookEvent:
    raise Malformed


@pytest.mark.parametrize(
    ("mutant", "body"),
    [
        pytest.param(malformed, b'{"type":"x"}', id="refuses events"),
        pytest.param(lambda _: WebhookEvent(type="x"), b"[]", id="accepts other bodies"),
        pytest.param(lambda _: WebhookEvent(type="y"), b'{"type":"x"}', id="changes the type"),
        pytest.param(lambda _: WebhookEvent(type="batch.failed"), b'{"type":"batch.failed"}', id="ignores the catalog"),
    ],
)
def test_unwrap_target_detects_mutant(
    mutant: Callable[[bytes], WebhookEvent], body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwrap.execute(b"\n\n" + body)
    monkeypatch.setattr(unwrap, "parse_body", mutant)
    with pytest.raises(Finding):
        unwrap.execute(b"\n\n" + body)


@pytest.mark.parametrize(
    ("mutant", "data", "message"),
    [
        pytest.param(
            "app.receiver._verify = lambda *_: ('wh_1', 'fuzz')",
            FORGED,
            "answered 200 instead of 401",
            id="accepts forgeries",
        ),
        pytest.param(
            "app.deduplicator.run_once = lambda webhook_id, work: ('1', True)",
            SAMPLE,
            "called [] for a 200",
            id="loses events",
        ),
        pytest.param("receiver.parse_body = lambda _: 1 / 0", SAMPLE, "ZeroDivisionError", id="raises"),
        pytest.param(
            "bus = app.receiver._bus; to_entry = bus.to_entry; "
            "bus.to_entry = lambda body, *event: to_entry(body + b' ', *event)",
            SAMPLE,
            "published something else than the body",
            id="changes the body",
        ),
        pytest.param(
            "bus = app.receiver._bus; to_entry = bus.to_entry; "
            "bus.to_entry = lambda body, event, _: to_entry(body, event, 'other')",
            SAMPLE,
            "published another endpoint",
            id="names another endpoint",
        ),
        pytest.param("handler.BUDGET = 0", SAMPLE, "answered after", id="is late"),
        pytest.param(
            "app.telemetry.identify = lambda _: print(handler.DEVELOPMENT_SECRET)",
            FORGED,
            "logged the signing secret",
            id="logs the secret",
        ),
        pytest.param("app.telemetry.identify = print", FORGED, "logged 2 lines", id="logs another line"),
    ],
)
def test_handler_target_detects_mutant(mutant: str, data: bytes, message: str) -> None:
    imports = "from evidence.fuzz import handler; from evidence.fuzz.function import app; from receiver import receiver"
    result = python("-c", f"{imports}; handler.execute({data!r}); {mutant}; handler.execute({data!r})")
    assert result.returncode == 1
    assert message in result.stderr.splitlines()[-1]


def test_corpus_contains_all_kinds() -> None:
    files = {path.name: path.read_bytes() for path in CORPUS.iterdir()}
    deliveries = {name: Delivery.decode(content) for name, content in files.items()}
    assert {name: delivery.encode() for name, delivery in deliveries.items()} == files
    authentic = {name for name, delivery in deliveries.items() if is_authentic(delivery)}
    events = {name for name, delivery in deliveries.items() if event_type(delivery.body)}
    assert min(map(len, (authentic & events, authentic - events, events - authentic))) > 10
