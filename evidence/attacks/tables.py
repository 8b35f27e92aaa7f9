"""The results of fuzzing and of the attacks, as tables for evidence/reports/attacks.md."""

from collections.abc import Mapping
from typing import Any

from evidence.markdown import table
from evidence.models.inputs import PRICES

type Results = Mapping[str, Any]


def fuzz(found: Results) -> dict[str, str]:
    rows = [
        [f"`{name}`", target["executions"], target["per_second"], target["findings"]]
        for name, target in found["targets"].items()
    ]
    return {"targets": table(["target", "executions", "per second", "findings"], rows)}


def differential(found: Results) -> dict[str, str]:
    rows = [
        ["drawn", found["deliveries"]],
        ["distinct", found["different"]],
        *found["seen"].items(),
        ["accepted or refused by us only, without a named reason", found["unnamed"]],
    ]
    return {"verdicts": table(["deliveries", "number"], rows)}


def costly_deliveries(found: Results) -> dict[str, str]:
    deliveries, flood = found["attacks"], found["flood"]
    costs = [
        [name, cost["status"], cost["answered_after"], round(cost["megabytes"])] for name, cost in deliveries.items()
    ]
    calls = [[f"calls to AWS: {operation}", count] for operation, count in flood["calls"].items()]
    # The secret is all that a flood reads.
    hourly = sum(flood["calls"].values()) * 60 / flood["minutes"] * PRICES["read"].value / 10_000
    return {
        "costs": table(["delivery", "status", "s", "MB"], costs),
        "flood": table(
            ["flood of one instance", "number"],
            [
                ["forgeries", flood["forgeries"]],
                ["minutes", flood["minutes"]],
                *calls,
                ["dollars per hour for these calls", f"{hourly:.3f}"],
            ],
        ),
    }


def timing(found: Results) -> dict[str, str]:
    rows = [
        [f"{int(place) + 1} of 43", difference["nanoseconds"], difference["t"]]
        for place, difference in found["verify"].items()
    ]
    control = ["1 of 43, with an early-exit comparison", found["control"]["nanoseconds"], found["control"]["t"]]
    return {"differences": table(["first wrong character", "difference, ns", "t"], [*rows, control])}
