import math

import pytest

from evidence.attacks.timing import t_test


def test_t_matches_its_formula() -> None:
    # The mean is 2, the variance 1.
    assert t_test([1, 2, 3]) == pytest.approx((2, 2 / math.sqrt(1 / 3)))
