"""Text from outside, in a form that no terminal acts on."""

import pytest

from openai_webhooks_cli.shell.printable import printable

HIDDEN = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Zoë ☃ 😀", "Zoë ☃ 😀", id="text"),
        pytest.param("\x1b]0;owned\x07", f"{HIDDEN}]0;owned{HIDDEN}", id="terminal escape"),
        pytest.param("\x9b31m", f"{HIDDEN}31m", id="C1 control"),
        pytest.param("\u202e", HIDDEN, id="direction override"),
        pytest.param("\ud800", HIDDEN, id="lone surrogate"),
        pytest.param("a\nb\rc\u2028d", f"a{HIDDEN}b{HIDDEN}c{HIDDEN}d", id="line break"),
        pytest.param("x" * 11, f"{'x' * 10}…", id="long"),
        pytest.param("x" * 10, "x" * 10, id="longest"),
    ],
)
def test_text_does_not_act_on_terminal(text: str, expected: str) -> None:
    assert printable(text, 10 if text.startswith("x") else 300) == expected
