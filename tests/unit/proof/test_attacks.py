"""The long runs notice what they are there for, and docs/attacks.md quotes what they have measured."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from proof import figures
from proof.attacks import ATTACKS, MINUTES, Cost, faults
from proof.timing import welch

RIGHT = {name: Cost(attack.status, 0.1, 100) for name, attack in ATTACKS.items()}
NAME = "10 MB, forged"


def test_the_costs_of_one_attack_in_a_process_of_its_own() -> None:
    code = f"from proof import attacks; print(attacks.faults({{{NAME!r}: attacks.cost({NAME!r})}}, {{}}))"
    root = Path(__file__).parents[3]
    assert subprocess.check_output([sys.executable, "-c", code], cwd=root, text=True) == "[]\n"


@pytest.mark.parametrize(
    ("spent", "calls", "fault"),
    [
        pytest.param(Cost(200, 0.1, 100), {}, f"{NAME}: answered 200 in the place of 413", id="status"),
        pytest.param(Cost(413, 1.5, 100), {}, f"{NAME}: answered after 5.2 s", id="time"),
        pytest.param(Cost(413, 0.1, 513), {}, f"{NAME}: 513 MB", id="memory"),
        pytest.param(RIGHT[NAME], {"GetSecretValue": 31}, "flood: {'GetSecretValue': 31}", id="reads"),
        pytest.param(RIGHT[NAME], {"PutItem": 1}, "flood: {'PutItem': 1}", id="other calls"),
    ],
)
def test_a_fault_is_told(spent: Cost, calls: dict[str, int], fault: str) -> None:
    assert faults(RIGHT, {"GetSecretValue": 3 * MINUTES}) == []
    assert faults(RIGHT | {NAME: spent}, calls) == [fault]


def test_welch() -> None:
    # Means 2 and 4, variances 1 and 4.
    assert welch([1, 2, 3], [2, 4, 6]) == pytest.approx((-2, -2 / math.sqrt(1 / 3 + 4 / 3)))


@pytest.mark.parametrize("name", figures.TABLES)
def test_the_document_says_what_was_measured(name: str) -> None:
    document = figures.DOCUMENT.read_text()
    for table in figures.TABLES[name](figures.read(name)):
        assert table in document
