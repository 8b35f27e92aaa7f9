import pytest

from evidence import results
from evidence.benchmarks.builds import CONTENDERS, NAMES
from evidence.benchmarks.growth import Curve
from evidence.benchmarks.targets import TARGETS, Quartiles, misses, ratios
from tests.support.paths import ROOT


def test_documented_run_meets_the_limits() -> None:
    targets = results.read("performance")["targets"]

    assert [target["what"] for target in targets] == [target.what for target in TARGETS]
    assert misses([Quartiles(**target["ratio"]) for target in targets]) == []


@pytest.mark.parametrize("number", range(len(TARGETS)), ids=[target.what for target in TARGETS])
def test_ratio_above_the_limit_is_a_miss(number: int) -> None:
    met = [Quartiles.of([target.allowed]) for target in TARGETS]
    target = TARGETS[number]

    assert misses(met) == []
    (miss,) = misses([*met[:number], Quartiles.of([target.allowed + 0.001]), *met[number + 1 :]])
    assert miss.startswith(f"{target.what}: ")


def test_ratios_compare_the_same_round() -> None:
    assert ratios([1, 20, 300], [2, 20, 100]) == Quartiles(low=0.75, median=1, high=2)


def test_slope_is_the_time_for_one_more() -> None:
    assert Curve({1: 5.0, 2: 7.0, 4: 11.0}).slope == pytest.approx(2)


def test_contenders_have_the_versions_of_the_receiver() -> None:
    pinned = dict(
        line.removesuffix(" \\").split("==")
        for line in (ROOT / "evidence/requirements.txt").read_text().splitlines()
        if "==" in line and not line.startswith((" ", "#")) and ";" not in line
    )
    for name in NAMES:
        for requirement in (CONTENDERS / name / "requirements.txt").read_text().split():
            package, version = requirement.split("==")
            assert pinned.get(package, version) == version, requirement
