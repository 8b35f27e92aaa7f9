"""The tables of evidence/reports/alarms.md."""

from collections.abc import Mapping
from typing import Any

from evidence.markdown import table


def blocks(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables for documents."""
    scenarios = found["standard"]["scenarios"]
    rates = list(next(iter(scenarios.values())))
    return {
        "scenarios": table(
            ["scenario", *rates], ([name, *map(_caught, cells.values())] for name, cells in scenarios.items())
        ),
        "rollbacks": table(
            ["rolled back", *rates],
            (
                [name, *(f"{cell['rolled_back']:.0%}" for cell in cells.values())]
                for name, cells in scenarios.items()
                if any(cell["rolled_back"] for cell in cells.values())
            ),
        ),
        "healthy": table(
            ["healthy deliveries", "months", "false alarms", "deployments that CanaryAlarm stops"],
            (
                [rate, cell["months"], _counts(cell["false_alarms"]), f"{cell['stopped_deployments']:.2%}"]
                for rate, cell in found["standard"]["healthy"].items()
            ),
        ),
        **{
            kind: table(
                ["if", "runs", "missed", "slowest alarm", "months", "false alarms"],
                (
                    [name, of["runs"], of["missed"], _time(of["slowest"]), of["months"], _counts(of["false_alarms"])]
                    for name, of in found[kind].items()
                ),
            )
            for kind in ("readings", "limits")
        },
    }


def _caught(cell: Mapping[str, Any]) -> str:
    """Return the alarms, the median and the worst time, and the missed runs."""
    missed = f" **{cell['missed']} missed**" if cell["missed"] else ""
    if not cell["alarms"]:
        return f"none{missed}"
    alarms = ", ".join(name.removesuffix("Alarm") for name in cell["alarms"])
    return f"{alarms}: {_time(cell['median'], cell['worst'])}{missed}"


def _time(*minutes: int) -> str:
    """Return times with one unit."""
    if max(minutes) <= 180:
        return f"{' / '.join(map(str, minutes))} min"
    return f"{' / '.join(f'{time / 60:.0f}' for time in minutes)} h"


def _counts(false_alarms: Mapping[str, int]) -> str:
    return ", ".join(f"{number} × {name}" for name, number in false_alarms.items()) or "0"
