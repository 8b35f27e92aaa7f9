"""Text from outside, in a form that no terminal acts on."""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Unicode categories that a terminal may act on, or that are not text: controls, directions, lone surrogates."""


def printable(text: str, limit: int = 300) -> str:
    """Return text from outside in a form that no terminal acts on, with at most `limit` characters."""
    clean = "".join("\N{REPLACEMENT CHARACTER}" if _is_hidden(character) else character for character in text[:limit])
    return clean + ("…" if len(text) > limit else "")


def _is_hidden(character: str) -> bool:
    if character.isascii():
        return not character.isprintable()
    return unicodedata.category(character) in _HIDDEN
