"""Rotation without a gap: what OpenAI signs, against what the stored secret contains, over time.

In each schedule A is the old secret. B, the new one, is stored at second 0.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import pytest

from tests.support.vault import Vault

A: Final = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
B: Final = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
OF_ANOTHER_PROJECT: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FORGED: Final = "whsec_" + "Zm9yZ2Vk" * 4

NOW: Final = 1_750_861_210  # second 0
HOUR: Final = 3600
DAY: Final = 24 * HOUR  # OpenAI can keep an old secret active for this long

type Steps = dict[int, Callable[[Vault], None]]
"""What happens to the stored secret, by second."""


def put(value: str) -> Callable[[Vault], None]:
    return lambda vault: vault.put(value)


def add_pending(vault: Vault) -> None:
    vault.stages["AWSPENDING"] = B


def promote_pending(vault: Vault) -> None:
    vault.put(vault.stages.pop("AWSPENDING"))


def remove_previous(vault: Vault) -> None:
    del vault.stages["AWSPREVIOUS"]


STORED: Final[dict[str, Steps]] = {
    "B replaces A": {0: put(B)},
    "B replaces A, A is removed after a day": {0: put(B), DAY: remove_previous},
    "B replaces A, B is stored again after a day": {0: put(B), DAY: put(B)},
    "B is pending, and promoted an hour later": {0: add_pending, HOUR: promote_pending},
    "B and A, A is removed after a day": {0: put(f"{B} {A}"), DAY: put(B)},
    "B and the secret of another project": {0: put(f"{OF_ANOTHER_PROJECT}\n{B}")},
}

# The signers of each delivery in turn, while OpenAI keeps A active.
SIGNED: Final[dict[str, list[str]]] = {
    "B at once": [B],
    "both for a day": [f"{B} {A}"],
    "A for another day": [A],
    "either for a day": [A, B],
}


@pytest.fixture
def vault() -> Vault:
    """A vault with A as the current secret."""
    vault = Vault()
    vault.stages["AWSCURRENT"] = A
    return vault


def refused(vault: Vault, stored: Steps, signed: list[str], deliveries: Iterable[int]) -> list[int]:
    """Return the seconds in which a new instance refuses a delivery."""
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
    """Yield a second with a delivery each `interval`, around the seconds in which something changes."""
    for change in (0, HOUR, DAY):
        yield from range(change + since, change + 700, interval)


@pytest.mark.parametrize("stored", STORED)
def test_no_schedule_refuses_a_delivery(stored: str, vault: Vault) -> None:
    """For new and old keys when B is stored, and for frequent and rare deliveries."""
    for name, signed in SIGNED.items():
        for age, interval in ((0, 1), (10, 11), (299, 11), (300, 301)):
            seconds = refused(vault, STORED[stored], signed, every(interval, since=-age))
            assert seconds == [], f"{name}, keys {age} s old, a delivery each {interval} s"


@pytest.mark.parametrize("stored", STORED)
def test_new_instance_refuses_no_delivery(stored: str, vault: Vault) -> None:
    for name, signed in SIGNED.items():
        for second in every(233, since=-1):
            assert refused(vault, STORED[stored], signed, [second]) == [], name


def test_flood_of_forgeries_finds_pending_secret(vault: Vault) -> None:
    """The forgeries use up the refreshes. One of these finds B, which is pending for 10 s."""
    for second in range(-400, 400):
        if second == -10:
            add_pending(vault)
        if second == 0:
            promote_pending(vault)
        assert not vault.accepts(FORGED, NOW + second)
        assert vault.accepts(A, NOW + second)
        assert second < 0 or vault.accepts(B, NOW + second)


def test_flood_of_forgeries_delays_a_rotation_by_ten_seconds_at_most(vault: Vault) -> None:
    for phase in (0, 1, 5, 9):
        vault.stages = {"AWSCURRENT": A}
        vault.start_instance()
        refused = []
        for second in range(-100 - phase, 100):
            if second == 0:
                vault.put(B)
            assert not vault.accepts(FORGED, NOW + second)
            if second >= 0 and not vault.accepts(B, NOW + second):
                refused.append(second)
        assert max(refused, default=0) < 10


def test_one_forged_or_early_delivery_does_not_delay_a_rotation(vault: Vault) -> None:
    assert vault.accepts(A, NOW - 100)
    assert not vault.accepts(B, NOW - 1)
    vault.put(B)
    assert vault.accepts(B, NOW)


@pytest.mark.parametrize("lead", [2, 9, 10, 11])
def test_secret_used_before_it_is_stored_is_refused_for_ten_seconds_at_most(lead: int, vault: Vault) -> None:
    """OpenAI signs with B, and nothing else, once a second, `lead` seconds before B is stored."""
    assert vault.accepts(A, NOW - lead - 1)
    refused = []
    for second in range(-lead, 400):
        if second == 0:
            vault.put(B)
        if not vault.accepts(B, NOW + second):
            refused.append(second)
    assert set(range(-lead, 0)) <= set(refused)
    assert max(refused) < 10


def test_secret_replaced_in_the_second_it_was_read_is_accepted(vault: Vault) -> None:
    assert vault.accepts(A, NOW)
    vault.put(B)
    assert vault.accepts(B, NOW)


def test_secret_before_the_previous_one_is_refused(vault: Vault) -> None:
    vault.put(B)
    vault.put(OF_ANOTHER_PROJECT)
    accepted = [secret for secret in (OF_ANOTHER_PROJECT, B, A) if vault.accepts(secret, NOW)]
    assert accepted == [OF_ANOTHER_PROJECT, B]


@pytest.mark.parametrize("stage", ["AWSCURRENT", "AWSPENDING", "AWSPREVIOUS"])
def test_removed_secret_is_refused_after_five_minutes(stage: str, vault: Vault) -> None:
    for age in (0, 10, 299, 300):
        vault.stages = {"AWSCURRENT": B, stage: A}
        vault.start_instance()
        assert vault.accepts(A, NOW - age)
        vault.stages = {"AWSCURRENT": B}
        accepted = [second for second in range(400) if vault.accepts(A, NOW + second)]
        assert max(accepted, default=0) < 300
