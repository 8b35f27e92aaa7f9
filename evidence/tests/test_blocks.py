import pytest

from evidence import blocks, markdown
from tests.support.paths import ROOT


def test_table_replaces_old_table() -> None:
    old = "Before.\n\n<!-- evidence a.b -->\n| old |\n<!-- end -->\n\nAfter.\n"
    table = markdown.table(["a", "b"], [["1", 2000]])

    assert blocks.fill(old, {"a.b": table}) == (
        "Before.\n\n<!-- evidence a.b -->\n| a | b |\n| --- | --- |\n| 1 | 2,000 |\n<!-- end -->\n\nAfter.\n"
    )


def test_figure_stays_in_its_sentence() -> None:
    old = "It costs $<!-- evidence a.b -->4<!-- end --> or $<!-- evidence a.c -->5<!-- end -->."

    assert blocks.fill(old, {"a.b": "6", "a.c": "7"}) == (
        "It costs $<!-- evidence a.b -->6<!-- end --> or $<!-- evidence a.c -->7<!-- end -->."
    )


def test_unknown_block_is_an_error() -> None:
    with pytest.raises(KeyError, match=r"a\.b"):
        blocks.fill("<!-- evidence a.b --><!-- end -->", {})


def test_documents_use_every_block() -> None:
    text = "".join(path.read_text() for pattern in blocks.DOCUMENTS for path in ROOT.glob(pattern))

    assert [name for name in blocks.blocks() if f"<!-- evidence {name} -->" not in text] == []
