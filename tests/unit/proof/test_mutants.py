"""The mutants, against the sources as they stand today."""

from pathlib import Path

import pytest

from proof import ROOT
from proof.mutants import MUTANTS, Mutant, mutate


@pytest.mark.parametrize("mutant", [pytest.param(mutant, id=mutant.name) for mutant in MUTANTS])
def test_a_mutant_is_python_that_differs(mutant: Mutant, tmp_path: Path) -> None:
    source = (mutate(ROOT / "src", mutant, tmp_path) / mutant.file).read_text()
    compile(source, mutant.file, "exec")
    assert source != (ROOT / "src" / mutant.file).read_text()


def test_a_change_that_does_not_apply_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`no such line` occurs 0 times"):
        mutate(ROOT / "src", Mutant("none", "receiver/bus.py", {"no such line": ""}), tmp_path)
