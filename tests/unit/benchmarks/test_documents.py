"""docs/scale.md, docs/cost.md and the README say what the last runs have found, and these are up to date."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from benchmarks import cost, inputs, report, scale
from benchmarks.delivery import Footprint
from proof import ROOT


def found(name: str) -> dict[str, Any]:
    results: dict[str, Any] = json.loads(report.results(name).read_text())
    return results


def as_json(value: object) -> Any:
    return json.loads(json.dumps(value))


def prose(path: Path) -> str:
    """What a document says, however its lines are broken."""
    return " ".join(path.read_text().split())


# After a change, run `.venv/bin/python -m benchmarks.scale` or `.cost`, and read what stands beside the tables.
documented = pytest.mark.parametrize(
    ("name", "module"), [pytest.param("scale", scale, id="scale"), pytest.param("cost", cost, id="cost")]
)


@documented
def test_results_come_from_these_inputs(name: str, module: ModuleType) -> None:
    assert found(name)["inputs"] == as_json(inputs.described())


@documented
def test_document_has_the_tables(name: str, module: ModuleType) -> None:
    text = report.document(name).read_text()

    for table in module.tables(found(name)):
        assert table in text


def test_cost_is_computed_like_this() -> None:
    results = found("cost")

    assert as_json(cost.results(Footprint(**results["footprint"]))) == results


def test_scale_is_computed_like_this() -> None:
    results = found("scale")

    assert results["needs"] == {str(rate): scale.needs(rate) for rate in scale.RATES}
    assert results["budget"] == {memory: scale.budget(int(memory)) for memory in results["budget"]}


@pytest.mark.parametrize("number", [2, 7])
def test_bursts_come_out_like_this(number: int) -> None:
    scenario, result = scale.SCENARIOS[number], found("scale")["scenarios"][number]

    again = as_json(scale.simulate(scenario, found("scale")["seed"], lambda _: None)._asdict())

    assert {name: result[name] for name in again} == again


def test_no_delivery_of_a_documented_burst_is_given_up() -> None:
    assert [run["given_up"] for run in found("scale")["scenarios"]] == [0] * len(scale.SCENARIOS)


def test_readme_has_the_costs() -> None:
    results = found("cost")
    readme = prose(ROOT / "README.md")
    lines = {name: f"${dollars:.2f}" for name, (_, dollars) in (results["per_million"] | results["monthly"]).items()}

    assert f"${results['total']:.2f} per million deliveries" in readme
    assert f"{lines['DynamoDB']} are DynamoDB's, {lines['EventBridge']} each API Gateway's and EventBridge's" in readme
    assert lines["API Gateway, HTTP API"] == lines["EventBridge"]
    assert f"{lines['logs']} the logs', {lines['Lambda']} Lambda's" in readme
    assert f"{lines['the secret']} a month for the secret, {lines['`ErrorAlarm`']} for an alarm" in readme
    assert f"{lines['each metric that has counted anything']} for each metric" in readme
    assert f"{inputs.PARAMETERS['ThrottlingRate']['Default']} deliveries a second" in readme


def test_prose_has_the_figures_of_the_tables() -> None:
    bursts, sizes = found("scale")["scenarios"], {size["memory"]: size for size in found("cost")["by_memory"]}
    restored, initialized = (dollars for _, dollars in found("cost")["snapstart"].values())
    init, first = inputs.INIT_CPU.value, inputs.FIRST_CPU.value

    for text in (
        f"takes {bursts[1]['seconds'] / 3_600:.1f} h",
        f"{bursts[5]['seconds'] / 60:.0f} min instead of {bursts[4]['seconds'] / 60:.0f} min",
        f"{init * 1000:.0f} of the {(init + first) * 1000:.0f} ms of CPU",
        f"{first * 1000:.0f} ms of CPU, {inputs.stretched(first, 512) * 1000:.0f} ms at 512 MB",
        f"{inputs.TARGET.median * 1000:.0f} ms, {inputs.TARGET.p99 * 1000:.0f} at the 99th percentile",
        f"a sudden {round(1_000 / inputs.start_seconds(512), -2):.0f} a second",
    ):
        assert text in prose(report.document("scale"))
    for text in (
        f"saves ${sizes[512]['total_x86_64'] - sizes[256]['total_x86_64']:.2f} a million",
        {8: "eight times", 9: "nine times"}[round(restored / initialized)],
    ):
        assert text in prose(report.document("cost"))
