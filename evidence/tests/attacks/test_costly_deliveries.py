import pytest

from evidence.attacks.costly_deliveries import CPU_SHARE, MAX_CALLS, MEMORY, faults, in_new_process
from evidence.attacks.costs import ATTACKS, Cost

RIGHT = {name: Cost(attack.status, 0.1, 100) for name, attack in ATTACKS.items()}
NAME = "6 MiB, forged"
TOO_MANY = int(MAX_CALLS) + 1


def test_costly_delivery_stays_within_budget() -> None:
    assert faults({NAME: Cost(*in_new_process(f"cost({NAME!r})"))}, {}) == []


@pytest.mark.parametrize(
    ("spent", "calls", "fault"),
    [
        pytest.param(Cost(200, 0.1, 100), {}, f"{NAME}: answered 200 instead of 401", id="status"),
        pytest.param(Cost(401, 6 * CPU_SHARE, 100), {}, f"{NAME}: answered after 6.0 s", id="time"),
        pytest.param(Cost(401, 0.1, MEMORY + 1), {}, f"{NAME}: {MEMORY + 1} MB", id="memory"),
        pytest.param(RIGHT[NAME], {"GetSecretValue": TOO_MANY}, f"flood: {{'GetSecretValue': {TOO_MANY}}}", id="reads"),
        pytest.param(RIGHT[NAME], {"PutItem": 1}, "flood: {'PutItem': 1}", id="other calls"),
    ],
)
def test_fault_is_reported(spent: Cost, calls: dict[str, int], fault: str) -> None:
    assert faults(RIGHT, {"GetSecretValue": TOO_MANY - 1}) == []
    assert faults(RIGHT | {NAME: spent}, calls) == [fault]
