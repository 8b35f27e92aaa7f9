"""Tables in documents follow the results."""

import pytest

from proof import documents


def test_table_takes_the_place_of_the_one_with_its_header() -> None:
    table = documents.markdown(["a", "b"], [["1", "2"]])

    text = documents.replaced("before\n\n| a | b |\n| --- | --- |\n| 0 | 0 |\n| 0 | 0 |\n\n| a |\n", table)

    assert text == "before\n\n| a | b |\n| --- | --- |\n| 1 | 2 |\n\n| a |\n"
    with pytest.raises(ValueError, match="0 tables"):
        documents.replaced("nothing", table)
