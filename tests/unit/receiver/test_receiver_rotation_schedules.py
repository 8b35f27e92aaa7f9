"""Rotation without a gap: what OpenAI signs, against what the stored secret holds, over time.

In each schedule the old secret is A, and B, the new one, is stored at second 0.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import pytest

if TYPE_CHECKING:
    from tests.unit.receiver.conftest import Vault

A: Final = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
B: Final = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OF_ANOTHER_PROJECT: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FORGED: Final = "whsec_" + "Zm9yZ2Vk" * 4

NOW: Final = 1_750_861_210  # second 0
HOUR: Final = 3600
DAY: Final = 24 * HOUR  # for which OpenAI keeps an old secret active, if it is asked to

type Steps = dict[int, Callable[[Vault], None]]
"""What is done to the stored secret, and in which second."""


def put(value: str) -> "Callable[[Vault], None]":
    return lambda vault: vault.put(value)


def pend(vault: "Vault") -> None:
    vault.stages["AWSPENDING"] = B


def promote(vault: "Vault") -> None:
    vault.put(vault.stages.pop("AWSPENDING"))


def remove_previous(vault: "Vault") -> None:
    del vault.stages["AWSPREVIOUS"]


STORED: Final[dict[str, Steps]] = {
    "in A's place": {0: put(B)},
    "in A's place, A removed after a day": {0: put(B), DAY: remove_previous},
    "in A's place, and once more after a day": {0: put(B), DAY: put(B)},
    "as a pending version, promoted an hour later": {0: pend, HOUR: promote},
    "beside A, which is taken out after a day": {0: put(f"{B} {A}"), DAY: put(B)},
    "beside another project's": {0: put(f"{OF_ANOTHER_PROJECT}\n{B}")},
}

SIGNED: Final[dict[str, list[str]]] = {
    # by what each delivery is signed in turn while OpenAI keeps A active
    "with B at once": [B],
    "with both for a day": [f"{B} {A}"],
    "with A for another day": [A],
    "with either for a day": [A, B],
}


def refused(vault: "Vault", stored: Steps, signed: list[str], deliveries: Iterable[int]) -> list[int]:
    """In which seconds an instance that takes these deliveries, in their seconds, refuses one."""
    vault.stages = {"AWSCURRENT": A}
    vault.start_instance()
    steps, turns = dict(stored), itertools.cycle(signed)
    seconds = []
    for second in deliveries:
        for due in [step for step in steps if step <= second]:
            steps.pop(due)(vault)
        signers = A if second < 0 else next(turns) if second < DAY else B
        if not vault.accepts(signers, NOW + second):
            seconds.append(second)
    return seconds


def every(interval: int, *, since: int) -> Iterator[int]:
    """The seconds from `since` on in which a delivery comes, but for the hours in which nothing changes."""
    for change in (0, HOUR, DAY):
        yield from range(change + since, change + 700, interval)


@pytest.mark.parametrize("signed", SIGNED)
@pytest.mark.parametrize("stored", STORED)
def test_no_delivery_is_refused(stored: str, signed: str, vault: "Vault") -> None:
    """However old the known keys are when B is stored, and however often deliveries come."""
    assert {
        (age, interval): seconds
        for age in (0, 1, 59, 60, 299, 300)
        for interval in (1, 61, 301)
        if (seconds := refused(vault, STORED[stored], SIGNED[signed], every(interval, since=-age)))
    } == {}


@pytest.mark.parametrize("signed", SIGNED)
@pytest.mark.parametrize("stored", STORED)
def test_a_new_instance_refuses_none(stored: str, signed: str, vault: "Vault") -> None:
    for second in every(59, since=-1):
        assert refused(vault, STORED[stored], SIGNED[signed], [second]) == []


def test_through_a_flood_of_forgeries_if_it_is_pending_for_a_minute(vault: "Vault") -> None:
    """They use the searches up; one of these finds B."""
    vault.stages["AWSCURRENT"] = A
    for second in range(-1000, 1000):
        if second == -60:
            pend(vault)
        if second == 0:
            promote(vault)
        assert not vault.accepts(FORGED, NOW + second)
        assert vault.accepts(A, NOW + second)
        assert second < 0 or vault.accepts(B, NOW + second)


@pytest.mark.parametrize("lead", [1, 30, 59, 60, 61, 3600])
def test_the_one_gap_is_a_minute_after_a_search_that_found_nothing(lead: int, vault: "Vault") -> None:
    """OpenAI signs with B, and nothing else, `lead` seconds before B is stored."""
    vault.stages["AWSCURRENT"] = A
    assert vault.accepts(A, NOW - lead - 1)
    seconds = []
    for second in range(-lead, 1000):
        if second == 0:
            vault.put(B)
        if not vault.accepts(B, NOW + second):
            seconds.append(second)
    # They begin with the first such delivery, and come each minute.
    assert seconds == list(range(-lead, -lead % 60))


@pytest.mark.parametrize("known_as", ["AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"])
def test_a_leaked_secret_is_refused_five_minutes_after_it_was_taken_out(known_as: str, vault: "Vault") -> None:
    for age in range(0, 301, 10):
        vault.stages = {"AWSCURRENT": B, known_as: A}
        vault.start_instance()
        assert vault.accepts(A, NOW - age)
        vault.stages = {"AWSCURRENT": B}
        accepted = [second for second in range(1000) if vault.accepts(A, NOW + second)]
        assert max(accepted, default=0) < 300
