"""The corpus goes through every target, and every target notices what it is there for."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from openai_webhooks import Malformed, Unverified, WebhookEvent
from proof.fuzz import unwrap, verify
from proof.fuzz.deliveries import CORPUS, Delivery, samples
from proof.fuzz.oracle import Finding, event_type, is_authentic

_, SAMPLE = next(samples())
FORGED = SAMPLE.replace(b"evt_", b"evl_")


def python(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """A process of its own: the handler reads its environment when it is imported."""
    root = Path(__file__).parents[3]
    return subprocess.run([sys.executable, *arguments], cwd=root, capture_output=True, text=True, check=False)


def test_the_corpus_through_every_target() -> None:
    result = python("-m", "proof.fuzz", "--replay")
    count = len(list(CORPUS.iterdir())) + len(list(samples()))
    assert result.stdout == "".join(f"{target}: {count} deliveries\n" for target in ("verify", "unwrap", "handler"))
    assert (result.returncode, result.stderr) == (0, "")


def test_a_finding_is_told_of_with_its_input(tmp_path: Path) -> None:
    harmless = tmp_path / "harmless"
    harmless.write_bytes(SAMPLE)
    code = "from proof.fuzz import __main__ as fuzz, verify; verify.NOW = 0; fuzz.main()"
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
        pytest.param(refuse, SAMPLE, Finding, id="refuses what is signed"),
        pytest.param(fail, FORGED, ValueError, id="raises"),
    ],
)
def test_verify_is_watched(
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
        pytest.param(malformed, b'{"type":"x"}', id="refuses an event"),
        pytest.param(lambda _: WebhookEvent(type="x"), b"[]", id="makes one of nothing"),
        pytest.param(lambda _: WebhookEvent(type="y"), b'{"type":"x"}', id="makes another one"),
        pytest.param(lambda _: WebhookEvent(type="batch.failed"), b'{"type":"batch.failed"}', id="gives it no class"),
    ],
)
def test_unwrap_is_watched(
    mutant: Callable[[bytes], WebhookEvent], body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    unwrap.execute(b"\n\n" + body)
    monkeypatch.setattr(unwrap, "unwrap", mutant)
    with pytest.raises(Finding):
        unwrap.execute(b"\n\n" + body)


@pytest.mark.parametrize(
    ("mutant", "data", "says"),
    [
        pytest.param(
            "app.verify = lambda *_, **__: None", FORGED, "answered 200 in the place of 401", id="accepts forgeries"
        ),
        pytest.param("app.publish_once = lambda **_: 'Published'", SAMPLE, "called [] for a 200", id="loses an event"),
        pytest.param("app.unwrap = lambda _: 1 / 0", SAMPLE, "ZeroDivisionError", id="raises"),
        pytest.param(
            "entry = app.bus.entry; app.bus.entry = lambda body, *args, **kwargs: entry(body + b' ', *args, **kwargs)",
            SAMPLE,
            "published something else than the body",
            id="publishes something else",
        ),
        pytest.param("handler.BUDGET = 0", SAMPLE, "answered after", id="is late"),
        pytest.param(
            "app.count = lambda _: print(handler.DEVELOPMENT_SECRET)", FORGED, "told the signing secret", id="tells"
        ),
    ],
)
def test_the_handler_is_watched(mutant: str, data: bytes, says: str) -> None:
    imports = "from proof.fuzz import handler; from proof.fuzz.function import app"
    result = python("-c", f"{imports}; handler.execute({data!r}); {mutant}; handler.execute({data!r})")
    assert result.returncode == 1
    assert says in result.stderr.splitlines()[-1]


def test_a_file_of_the_corpus_is_a_delivery_to_the_byte() -> None:
    for path in CORPUS.iterdir():
        assert Delivery.decode(path.read_bytes()).encode() == path.read_bytes(), path.name


def test_the_corpus_is_of_all_kinds() -> None:
    deliveries = {path.name: Delivery.decode(path.read_bytes()) for path in CORPUS.iterdir()}
    authentic = {name for name, delivery in deliveries.items() if is_authentic(delivery)}
    events = {name for name, delivery in deliveries.items() if event_type(delivery.body)}
    assert min(map(len, (authentic & events, authentic - events, events - authentic))) > 10
