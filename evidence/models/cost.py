"""Compute what a million deliveries cost at list prices, by memory size, and the prices of other products.

The program runs the function with the embedded AWS to count what the function logs.
"""

import argparse
import sys
from collections.abc import Mapping
from math import ceil
from typing import Any

from rich.console import Console

from evidence import results
from evidence.markdown import table
from evidence.models import footprint as delivery, inputs
from evidence.models.footprint import Footprint
from evidence.models.inputs import ANSWER, ARCHIVE_DAYS, COLD_SHARE, INIT_CPU, MEMORY, OTHERS, PRICES, SAMPLED, VCPU
from tests.support.templates import RECEIVER

SIZES = (128, 256, 512, 1024, VCPU)
MONTH = 30 * 86_400  # seconds
GB = 1e9  # bytes; a GB of Lambda's memory is 1,024 MB
READS = MONTH / 300  # of the secret, by an environment that is always busy


def _metrics(*alarms: str) -> int:
    """Return how many metrics of alarms AWS bills. Expressions are free, but one over an insight rule is a metric."""
    resources = RECEIVER.read()["Resources"]
    properties = [resources[alarm]["Properties"] for alarm in alarms]
    return sum(max(1, sum("MetricStat" in of for of in alarm.get("Metrics", []))) for alarm in properties)


ALARM_METRICS = _metrics("RefusedAlarm", "UnavailableAlarm", "ArrivalAlarm", "DeduplicationAlarm", "SecretAlarm")
CANARY_METRICS = _metrics("CanaryAlarm")


def duration(memory: int, architecture: str) -> float:
    """Return the dollars per million deliveries for Lambda's time."""
    return _billed_ms(memory) * 1000 * memory / 1024 * PRICES[architecture].value


def _billed_ms(memory: int) -> float:
    """Return the milliseconds of an average delivery."""
    warm, cold = _warm_ms(memory), _cold_ms(memory)
    return warm + COLD_SHARE.value * (cold - warm)


def _warm_ms(memory: int) -> int:
    return ceil(inputs.warm_seconds(memory) * 1000)


def _cold_ms(memory: int) -> int:
    return ceil((inputs.stretched(INIT_CPU.value, memory) + inputs.first_seconds(memory)) * 1000)


def _cold_answer(memory: int) -> float:
    """Return the seconds until the sender has the answer of a cold start."""
    return inputs.start_seconds(memory) + inputs.warm_seconds(memory) + inputs.GATEWAY.mean


def per_million(footprint: Footprint, memory: int, architecture: str) -> dict[str, tuple[str, float]]:
    """Return the calculation and the dollars of each line."""
    p = {name: price.value for name, price in PRICES.items()}
    logged = sum(footprint.logged.values()) * 1e6 / GB
    archived = footprint.archived * 1e6 / GB
    answers = ANSWER.value * 1e6 / GB
    return {
        "API Gateway, HTTP API": (f"1 M × ${p['api']:.2f}", p["api"]),
        "Lambda": (
            f"1 M × ${p['requests']:.2f} + 1 M × {_billed_ms(memory):.0f} ms × {memory / 1024:g} GB "
            f"× ${p[architecture]:.10f}",
            p["requests"] + duration(memory, architecture),
        ),
        "DynamoDB": (f"2 M writes × ${p['write']:.3f}", 2 * p["write"]),
        "EventBridge": (f"1 M × ${p['event']:.2f}", p["event"]),
        "archive": (
            f"{archived:.2f} GB × (${p['archive']:.2f} + {ARCHIVE_DAYS} days at ${p['archived']:.3f} per month)",
            archived * (p["archive"] + p["archived"] * ARCHIVE_DAYS / 30),
        ),
        "logs": (f"{logged:.2f} GB × ${p['log']:.2f}", logged * p["log"]),
        "secret, read at each cold start": (
            f"{COLD_SHARE.value * 1e6:,.0f} × ${p['read']:.2f} / 10,000",
            COLD_SHARE.value * 1e6 * p["read"] / 10_000,
        ),
        "answers": (f"{answers:.1f} GB × ${p['transfer']:.2f}", answers * p["transfer"]),
    }


def total(footprint: Footprint, memory: int, architecture: str) -> float:
    """Return the sum of the lines as shown, in whole cents."""
    return sum(round(dollars, 2) for _, dollars in per_million(footprint, memory, architecture).values())


def by_memory(footprint: Footprint) -> list[dict[str, float]]:
    """Return times and dollars for each memory size."""
    return [
        {
            "memory": memory,
            "warm_ms": _warm_ms(memory),
            "cold_seconds": _cold_answer(memory),
            **{f"lambda_{architecture}": duration(memory, architecture) for architecture in ("x86_64", "arm64")},
            **{f"total_{architecture}": total(footprint, memory, architecture) for architecture in ("x86_64", "arm64")},
        }
        for memory in SIZES
    ]


def monthly() -> dict[str, tuple[str, float]]:
    """Return the monthly costs that do not depend on the number of deliveries."""
    p = {name: price.value for name, price in PRICES.items()}
    gigabytes = MEMORY / 1024
    return {
        "signing secret": (f"1 × ${p['secret']:.2f}", p["secret"]),
        "reading the secret, for each environment that is always busy": (
            f"{READS:,.0f} × ${p['read']:.2f} / 10,000",
            READS * p["read"] / 10_000,
        ),
        "each metric with data": (f"1 × ${p['metric']:.2f}", p["metric"]),
        "alarms": (
            f"1 rule × ${p['insight']:.2f} + {ALARM_METRICS} metrics × ${p['alarm']:.2f}",
            p["insight"] + ALARM_METRICS * p["alarm"],
        ),
        "`QuietHours`": (f"1 metric × ${p['alarm']:.2f}", p["alarm"]),
        "`GradualDeployment=true`": (f"{CANARY_METRICS} metrics × ${p['alarm']:.2f}", CANARY_METRICS * p["alarm"]),
        "`CreateDashboard=true`, after the first three dashboards of an account": (
            f"1 × ${p['dashboard']:.2f}",
            p["dashboard"],
        ),
        "`SnapStart=PublishedVersions`, for each version": (
            f"{gigabytes:g} GB × {MONTH:,} s × ${p['snapshot']:.10f}",
            gigabytes * MONTH * p["snapshot"],
        ),
    }


def changes(footprint: Footprint) -> list[tuple[str, float, str]]:
    """Return each change that a reader can make, the dollars that it adds per million deliveries, and its effect."""
    p = {name: price.value for name, price in PRICES.items()}
    access_log = -footprint.logged["the access log"] * 1e6 / GB * p["log"]
    archive = per_million(footprint, MEMORY, "x86_64")["archive"][1]

    def instead(memory: int, architecture: str) -> float:
        return duration(memory, architecture) - duration(MEMORY, "x86_64")

    return [
        (
            "a function URL instead of API Gateway",
            access_log - p["api"],
            "There is no limit per second, no access log, no custom domain, and no metric for `UnavailableAlarm`. "
            "The template has no parameter for it.",
        ),
        (
            "no access log",
            access_log,
            "You cannot see who calls the URL, or which requests API Gateway refused. `UnavailableAlarm` sees no 429. "
            "Remove `AccessLogSettings` from the template.",
        ),
        ("`Architecture=arm64`", instead(MEMORY, "arm64"), "None that we know. Our measurements are on x86_64."),
        *(
            (
                f"`MemorySize={memory}`",
                instead(memory, "x86_64"),
                f"A cold answer takes {_cold_answer(memory):.1f} s instead of {_cold_answer(MEMORY):.1f} s.",
            )
            for memory in (256, 1024)
        ),
        ("`ArchiveRetentionDays=0`", -archive, "You cannot replay events."),
        (
            "`PlatformLogs=true`",
            footprint.platform * 1e6 / GB * p["log"],
            "Lambda logs the start, memory and billed time of each invocation.",
        ),
        ("`Tracing=true`", SAMPLED.value * p["trace"], f"X-Ray traces {SAMPLED.value:.0%} of the invocations."),
    ]


def snapstart() -> dict[str, tuple[str, float]]:
    """Return the dollars for a million restores, and for the initializations that they replace."""
    gigabytes = MEMORY / 1024
    init = inputs.stretched(INIT_CPU.value, MEMORY)
    restore, second = PRICES["restore"].value, PRICES["x86_64"].value
    return {
        "restored from a snapshot": (f"1 M × {gigabytes:g} GB × ${restore:.10f}", 1e6 * gigabytes * restore),
        "initialized": (
            f"1 M × {init * 1000:,.0f} ms × {gigabytes:g} GB × ${second:.10f}",
            1e6 * init * gigabytes * second,
        ),
    }


def others(footprint: Footprint) -> list[tuple[str, str, str]]:
    """Return the prices of a million events per month, here and of other products."""
    fixed = sum(round(dollars, 2) for _, dollars in list(monthly().values())[:4])
    here = total(footprint, MEMORY, "x86_64") + fixed
    return [
        ("this stack, with one metric", f"the total, plus ${fixed:.2f} per month", f"{here:.2f}"),
        *((f"[{offer.name}]({offer.source})", offer.what, offer.dollars) for offer in OTHERS),
    ]


def compute(footprint: Footprint) -> dict[str, Any]:
    """Return all results."""
    return {
        "command": "python -m evidence.models.cost --write",
        "inputs": inputs.values(),
        "footprint": footprint._asdict(),
        "per_million": per_million(footprint, MEMORY, "x86_64"),
        "total": total(footprint, MEMORY, "x86_64"),
        "by_memory": by_memory(footprint),
        "monthly": monthly(),
        "changes": changes(footprint),
        "snapstart": snapstart(),
        "others": others(footprint),
    }


def blocks(found: Mapping[str, Any]) -> dict[str, str]:
    """Return the tables and figures for documents."""
    total_row = ["**total**", "", f"**{found['total']:.2f}**"]
    return {
        "total": f"{found['total']:.2f}",
        "per_million": table(
            ["per million deliveries", "calculation", "$"], [*_lines(found["per_million"]), total_row]
        ),
        "monthly": table(["per month", "calculation", "$"], _lines(found["monthly"])),
        "changes": table(
            ["change", "$ per million", "effect"],
            [[change, f"{dollars:+.2f}", effect] for change, dollars, effect in found["changes"]],
        ),
        "memory": _sizes(found["by_memory"]),
        "logged": table(
            ["logged per published delivery", "bytes"],
            [
                *([place, f"{size}"] for place, size in found["footprint"]["logged"].items()),
                ["Lambda's lines, with `PlatformLogs=true`", f"{found['footprint']['platform']}"],
            ],
        ),
        "snapstart": table(["a million environments", "calculation", "$"], _lines(found["snapstart"])),
        "others": table(["a million events per month", "calculation", "$"], found["others"]),
        "prices": table(
            ["list price", "$", ""], [[f"[{p.what}]({p.source})", _price(p.value), p.unit] for p in PRICES.values()]
        ),
    }


def _lines(lines: Mapping[str, tuple[str, float]]) -> list[list[str]]:
    return [[name, arithmetic, f"{dollars:.2f}"] for name, (arithmetic, dollars) in lines.items()]


def _price(dollars: float) -> str:
    return f"{dollars:.2f}" if dollars == round(dollars, 2) else f"{dollars:.10f}".rstrip("0")


def _sizes(sizes: list[dict[str, float]]) -> str:
    return table(
        [
            "MB",
            "warm, ms",
            "cold answer, s",
            "Lambda's time, $",
            "total, $",
            "Lambda's time on arm64, $",
            "total on arm64, $",
        ],
        [
            [
                f"{size['memory']:,}",
                f"{size['warm_ms']}",
                f"{size['cold_seconds']:.1f}",
                *(f"{size[key]:.2f}" for key in ("lambda_x86_64", "total_x86_64", "lambda_arm64", "total_arm64")),
            ]
            for size in sizes
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser("python -m evidence.models.cost", description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace the results")
    options = parser.parse_args()
    try:
        with Console(stderr=True).status("Counting what a delivery logs"):
            found = compute(delivery.measure())
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    print("\n".join(blocks(found).values()))
    if options.write:
        results.write("cost", found)


if __name__ == "__main__":
    main()
