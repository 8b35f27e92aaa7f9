import json
from pathlib import Path

import pytest

from evidence import results


def test_results_survive_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    value = {"a": [{"b": 1.5, "é": None}] * 20, "empty": {}, "long": "x" * 200, "many": list(range(100))}

    results.write("run", value | {"numbers": dict.fromkeys(range(3), "x" * 50)})

    assert results.read("run") == value | {"numbers": {str(number): "x" * 50 for number in range(3)}}
    assert max(len(line) for line in (tmp_path / "run.json").read_text().splitlines() if "long" not in line) <= 120


def test_rounding_keeps_four_digits() -> None:
    assert results.rounded({"a": [1234.56, (0.00012345,)], "b": 123456}) == {"a": [1235.0, [0.0001234]], "b": 123456}


def test_results_are_short() -> None:
    for path in results.FOLDER.glob("*.json"):
        assert json.loads(path.read_text())
        assert len(path.read_text().splitlines()) <= 300, path.name
