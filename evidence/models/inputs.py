"""The inputs of the models, each with its source: measured, published or assumed.

Quotas and list prices are for us-east-1, and for x86_64 if the architecture matters.
"""

from math import exp, log
from typing import Any, NamedTuple

from evidence import results
from tests.support.templates import RECEIVER

PARAMETERS = RECEIVER.read()["Parameters"]
MEMORY: int = PARAMETERS["MemorySize"]["Default"]
ARCHIVE_DAYS: int = PARAMETERS["ArchiveRetentionDays"]["Default"]

DOCS = "https://docs.aws.amazon.com"
ASSUMED = "assumed, not confirmed"


class Figure(NamedTuple):
    what: str
    value: float
    unit: str
    source: str


class Latency(NamedTuple):
    """The latency of a call in seconds: log-normal, with a median and a 99th percentile."""

    what: str
    median: float
    p99: float
    source: str

    @property
    def sigma(self) -> float:
        return log(self.p99 / self.median) / 2.3263

    @property
    def mean(self) -> float:
        return self.median * exp(self.sigma**2 / 2)


# Measured on a development machine. The models assume that a vCPU of Lambda is as fast.
MEASURED = results.read("performance")
_WARM_US = MEASURED["warm"]["ours"]["accepted"]["cpu_us"]["p50"]
_INIT_MS, _COLD_MS = (MEASURED["cold"]["ours, make build"][until]["median"] for until in ("init", "cpu"))
PERFORMANCE = "[performance.md](performance.md)"
WARM_CPU = Figure("a warm delivery", round(_WARM_US / 1e6, 4), "s of CPU", PERFORMANCE)
INIT_CPU = Figure("initializing the function", round(_INIT_MS / 1e3, 3), "s of CPU", PERFORMANCE)
FIRST_CPU = Figure("the first delivery after that", round((_COLD_MS - _INIT_MS) / 1e3, 3), "s of CPU", PERFORMANCE)
PLACEMENT = Figure("a new environment, before its process starts", 0.1, "s", ASSUMED)

VCPU = 1769
"""Memory in MB with which a function has one vCPU. With less memory, its share of the vCPU is proportional.

Source: https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html
"""

GATEWAY = Latency(
    "API Gateway and the invocation",
    0.005,
    0.010,
    "[less than 10 ms](https://aws.amazon.com/blogs/compute/"
    "building-better-apis-http-apis-now-generally-available/) for 99 % of requests; the median is assumed",
)
WRITE = Latency(
    "a DynamoDB write",
    0.005,
    0.020,
    f"[single-digit milliseconds]({DOCS}/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html) "
    "within DynamoDB; the percentiles are assumed",
)
PUT_EVENTS = Latency("PutEvents", 0.010, 0.050, ASSUMED)
GET_SECRET = Latency("GetSecretValue, every 5 minutes", 0.010, 0.050, ASSUMED)
CONNECT = Latency("a new TLS connection, one per service", 0.003, 0.010, ASSUMED)
TARGET = Latency(
    "EventBridge, until a subscriber's function starts",
    0.148,
    0.387,
    "[measured by others](https://bitesizedserverless.com/bite/serverless-messaging-latency-compared/) in eu-west-1",
)

QUOTAS = {
    "api_rate": Figure(
        "API Gateway: requests, in an account and region",
        10_000,
        "per second",
        f"{DOCS}/apigateway/latest/developerguide/limits.html",
    ),
    "concurrency": Figure(
        "Lambda: environments, in an account and region (new accounts have fewer)",
        1_000,
        "at once",
        f"{DOCS}/lambda/latest/dg/gettingstarted-limits.html",
    ),
    "requests": Figure(
        "Lambda: requests per environment of the quota",
        10,
        "per second",
        f"{DOCS}/lambda/latest/dg/lambda-concurrency.html",
    ),
    "ramp": Figure(
        "Lambda: new environments of a function", 1_000, "in 10 s", f"{DOCS}/lambda/latest/dg/scaling-behavior.html"
    ),
    "writes": Figure(
        "DynamoDB: writes that a new on-demand table accepts",
        4_000,
        "per second",
        f"{DOCS}/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html",
    ),
    "table": Figure(
        "DynamoDB: writes that a table can grow to, by twice its peak every 30 minutes",
        40_000,
        "per second",
        f"{DOCS}/amazondynamodb/latest/developerguide/ServiceQuotas.html",
    ),
    "put_events": Figure(
        "EventBridge: PutEvents, in an account and region",
        10_000,
        "per second",
        f"{DOCS}/eventbridge/latest/userguide/eb-quota.html",
    ),
    "invocations": Figure(
        "EventBridge: invocations of targets; beyond it, they are delayed",
        18_750,
        "per second",
        f"{DOCS}/eventbridge/latest/userguide/eb-quota.html",
    ),
    "secrets": Figure(
        "Secrets Manager: GetSecretValue",
        10_000,
        "per second",
        f"{DOCS}/secretsmanager/latest/userguide/reference_limits.html",
    ),
}

# OpenAI does not publish its retry schedule. This is the standard's example, limited to OpenAI's 72 hours.
# https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md#deliverability-and-reliability
RETRY_DELAYS = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000)
JITTER = 0.1
"""Random share of the delay. The standard recommends jitter. This share is assumed."""

COLD_SHARE = Figure(
    "deliveries that start an environment",
    0.01,
    "of all",
    "AWS reports [less than 1 %](https://aws.amazon.com/blogs/compute/aws-lambda-standardizes-billing-for-init-phase)",
)

LAMBDA_PRICING = "https://aws.amazon.com/lambda/pricing/"
PRICES = {
    "api": Figure("HTTP API", 1.00, "per million requests", "https://aws.amazon.com/api-gateway/pricing/"),
    "requests": Figure("Lambda", 0.20, "per million requests", LAMBDA_PRICING),
    "x86_64": Figure("Lambda, x86_64", 0.0000166667, "per GB-second, including initialization", LAMBDA_PRICING),
    "arm64": Figure("Lambda, arm64", 0.0000133334, "per GB-second, including initialization", LAMBDA_PRICING),
    "snapshot": Figure("SnapStart, cache", 0.0000015046, "per GB-second of a published version", LAMBDA_PRICING),
    "restore": Figure("SnapStart, restore", 0.0001397998, "per GB restored", LAMBDA_PRICING),
    "write": Figure(
        "DynamoDB on demand", 0.625, "per million writes of 1 KB", "https://aws.amazon.com/dynamodb/pricing/on-demand/"
    ),
    "event": Figure(
        "EventBridge, custom events", 1.00, "per million, for each 64 KB", "https://aws.amazon.com/eventbridge/pricing/"
    ),
    "archive": Figure("EventBridge, archive", 0.10, "per GB", "https://aws.amazon.com/eventbridge/pricing/"),
    "archived": Figure("EventBridge, archive", 0.023, "per GB-month", "https://aws.amazon.com/eventbridge/pricing/"),
    "log": Figure("CloudWatch Logs", 0.50, "per GB", "https://aws.amazon.com/cloudwatch/pricing/"),
    "trace": Figure("X-Ray", 5.00, "per million traces", "https://aws.amazon.com/xray/pricing/"),
    "transfer": Figure(
        "data transfer out", 0.09, "per GB", "https://aws.amazon.com/ec2/pricing/on-demand/#Data_Transfer"
    ),
    "secret": Figure("Secrets Manager", 0.40, "per month", "https://aws.amazon.com/secrets-manager/pricing/"),
    "read": Figure("Secrets Manager", 0.05, "per 10,000 calls", "https://aws.amazon.com/secrets-manager/pricing/"),
    "metric": Figure("CloudWatch, custom metric", 0.30, "per month", "https://aws.amazon.com/cloudwatch/pricing/"),
    "alarm": Figure(
        "CloudWatch, alarm, for each metric", 0.10, "per month", "https://aws.amazon.com/cloudwatch/pricing/"
    ),
    "insight": Figure(
        "CloudWatch, Contributor Insights rule", 0.50, "per month", "https://aws.amazon.com/cloudwatch/pricing/"
    ),
    "dashboard": Figure("CloudWatch, dashboard", 3.00, "per month", "https://aws.amazon.com/cloudwatch/pricing/"),
}
ANSWER = Figure("an answer, with its headers", 300, "bytes", ASSUMED)
LOG_OVERHEAD = Figure(
    "each log line, besides its text",
    26,
    "bytes",
    f"[counted in a batch's size]({DOCS}/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html); "
    "that AWS bills it is assumed",
)


class Offer(NamedTuple):
    """The price of another product for a million events per month."""

    name: str
    what: str
    dollars: str
    source: str


TRANSCRIPTS = "https://raw.githubusercontent.com/api-evangelist"
"""Transcripts of the vendors' own pages."""
OTHERS = (
    Offer(
        "Svix, Free",
        "(1 M - 50,000) × $0.0001, at most 200 per second",
        "95.00",
        f"{TRANSCRIPTS}/svix/refs/heads/main/plans/svix-plans-pricing.yml",
    ),
    Offer(
        "Svix, Professional",
        "$490 + (1 M - 50,000) × $0.0001, at most 800 per second",
        "585.00",
        f"{TRANSCRIPTS}/svix/refs/heads/main/plans/svix-plans-pricing.yml",
    ),
    Offer(
        "Hookbase, Business",
        "$79 for 2 M events",
        "79.00",
        f"{TRANSCRIPTS}/hookbase/refs/heads/main/plans/hookbase-plans-pricing.yml",
    ),
    Offer(
        "Hookdeck, Team",
        "$39, plus a price per event that is not confirmed",
        "at least 39.00",
        f"{TRANSCRIPTS}/hookdeck/refs/heads/main/plans/hookdeck-plans-pricing.yml",
    ),
    Offer(
        "Trigger.dev",
        "1 M runs × $0.000025, plus compute",
        "at least 25.00",
        f"{TRANSCRIPTS}/trigger-dev/refs/heads/main/plans/trigger-dev-plans-pricing.yml",
    ),
)
SAMPLED = Figure(
    "deliveries that X-Ray traces with `Tracing=true`, besides the first of each second",
    0.05,
    "of all",
    f"{DOCS}/xray/latest/devguide/xray-console-sampling.html",
)


def stretched(cpu: float, memory: int) -> float:
    """Return the seconds that `cpu` seconds of one vCPU need with `memory` MB."""
    return cpu * max(1.0, VCPU / memory)


def warm_seconds(memory: int) -> float:
    """Return how long a warm delivery occupies its environment, on average."""
    return stretched(WARM_CPU.value, memory) + 2 * WRITE.mean + PUT_EVENTS.mean


def first_seconds(memory: int) -> float:
    """Return how long the first delivery occupies an environment after its initialization, on average."""
    return stretched(FIRST_CPU.value, memory) + 3 * CONNECT.mean + GET_SECRET.mean + 2 * WRITE.mean + PUT_EVENTS.mean


def start_seconds(memory: int) -> float:
    """Return what a cold start adds to the time of an answer, on average."""
    return PLACEMENT.value + stretched(INIT_CPU.value, memory) + first_seconds(memory) - warm_seconds(memory)


def values() -> dict[str, Any]:
    """Return the values of all inputs. Results contain them, so that a test detects outdated results."""
    named = globals() | {f"QUOTAS {name}": of for name, of in QUOTAS.items()}
    named |= {f"PRICES {name}": of for name, of in PRICES.items()}
    return {
        name: of.value if isinstance(of, Figure) else {"median": of.median, "p99": of.p99}
        for name, of in named.items()
        if isinstance(of, (Figure, Latency))
    }
