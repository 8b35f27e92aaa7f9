import math

import pytest

from evidence.attacks.timing import welch


def test_welch_matches_its_formula() -> None:
    # The means are 2 and 4, the variances 1 and 4.
    assert welch([1, 2, 3], [2, 4, 6]) == pytest.approx((-2, -2 / math.sqrt(1 / 3 + 4 / 3)))
