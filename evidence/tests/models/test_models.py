"""The committed results come from the current inputs and models. If a test fails, run the model again with --write."""

import json
from typing import Any

import pytest

from evidence import results
from evidence.models import cost, inputs, scale
from evidence.models.footprint import Footprint


def as_json(value: object) -> Any:
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("name", ["cost", "scale"])
def test_results_have_current_inputs(name: str) -> None:
    assert results.read(name)["inputs"] == as_json(inputs.values())


def test_cost_matches_the_model() -> None:
    found = results.read("cost")

    assert as_json(cost.compute(Footprint(**found["footprint"]))) == found


def test_quotas_and_times_match_the_model() -> None:
    found = results.read("scale")

    assert found["secret_reads"] == scale.secret_reads()
    assert found["needs"] == {str(rate): scale.needs(rate) for rate in scale.RATES}
    assert found["budget"] == {memory: scale.budget(int(memory)) for memory in found["budget"]}


@pytest.mark.parametrize("number", [2, 7])
def test_burst_matches_the_simulation(number: int) -> None:
    found = results.read("scale")
    scenario, documented = scale.SCENARIOS[number], found["scenarios"][number]

    again = as_json(scale.simulate(scenario, found["seed"], lambda _: None)._asdict())

    assert {name: documented[name] for name in again} == again


def test_no_documented_burst_gives_up_a_delivery() -> None:
    assert [run["given_up"] for run in results.read("scale")["scenarios"]] == [0] * len(scale.SCENARIOS)
