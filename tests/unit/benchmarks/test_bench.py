"""`make bench`: the document says what the run found, and a run that misses a target fails."""

import json
from typing import Any

import pytest

from benchmarks import performance
from benchmarks.builds import CONTENDERS, NAMES
from benchmarks.growth import Curve
from benchmarks.report import document, results
from benchmarks.targets import SLACK, TARGETS, Quartiles, misses, ratios
from proof import ROOT


@pytest.fixture(scope="module")
def figures() -> Any:
    return json.loads(results("performance").read_text())


def test_the_document_has_the_tables_of_the_last_run(figures: Any) -> None:
    text = document("performance").read_text()

    for table in performance.tables(figures):
        assert table in text


def test_readme_has_the_ratios_of_the_last_run(figures: Any) -> None:
    readme = " ".join((ROOT / "README.md").read_text().split())
    cold, paused = figures["targets"][0], figures["after_pauses"]["openai"]

    assert cold["what"] == "cold start, CPU, ours / openai, each as it is deployed"
    assert f"a cold start takes {cold['ratio']['median']:.2f} of the CPU time" in readme
    assert f"a delivery after a pause {paused['ratio']['median']:.2f}:" in readme


def test_the_last_run_was_held_to_the_targets(figures: Any) -> None:
    assert [target["what"] for target in figures["targets"]] == [target.what for target in TARGETS]
    assert misses([Quartiles(**target["ratio"]) for target in figures["targets"]]) == []


@pytest.mark.parametrize("number", range(len(TARGETS)), ids=[target.what for target in TARGETS])
def test_a_ratio_above_what_is_allowed_is_a_miss(number: int) -> None:
    met = [Quartiles.of([target.at_most]) for target in TARGETS]
    target = TARGETS[number]
    allowed = (target.held or target.at_most) * SLACK

    assert misses(met) == []
    (miss,) = misses([*met[:number], Quartiles.of([allowed + 0.001]), *met[number + 1 :]])
    assert miss.startswith(f"{target.what}: ")


def test_ratios_are_of_the_same_round() -> None:
    assert ratios([1, 20, 300], [2, 20, 100]) == Quartiles(low=0.75, median=1, high=2)


def test_a_slope_is_what_one_more_takes() -> None:
    assert Curve({1: 5.0, 2: 7.0, 4: 11.0}).slope == pytest.approx(2)


def test_contenders_have_the_versions_that_ours_has() -> None:
    pinned = dict(
        line.removesuffix(" \\").split("==")
        for line in (ROOT / "requirements-dev.txt").read_text().splitlines()
        if "==" in line and not line.startswith((" ", "#")) and ";" not in line
    )
    for name in NAMES:
        for requirement in (CONTENDERS / name / "requirements.txt").read_text().split():
            package, version = requirement.split("==")
            assert pinned.get(package, version) == version
