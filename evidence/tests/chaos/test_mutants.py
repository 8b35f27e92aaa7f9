from collections.abc import Iterator
from unittest import mock

import pytest

from evidence.chaos import mutations
from evidence.chaos.mutants import MUTANTS


@pytest.fixture(autouse=True)
def intact_receiver() -> Iterator[None]:
    yield
    mock.patch.stopall()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutation_matches_the_receiver(mutant: str) -> None:
    """A mutation replaces existing attributes only. `make chaos` shows that it breaks a promise."""
    getattr(mutations, mutant)()

    assert mock._patch._active_patches  # type: ignore[attr-defined]  # mock has no public list of what it replaced


def test_mutants_have_distinct_descriptions() -> None:
    assert all(MUTANTS.values())
    assert len(set(MUTANTS.values())) == len(MUTANTS) == 21
