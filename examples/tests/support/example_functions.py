"""Functions of the examples, each in a process of its own, with the settings of its template."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import boto3

from examples.tests.support.templates import EXAMPLES
from openai_webhooks_cli import samples
from openai_webhooks_cli.local.function_pool import Function, FunctionPool
from openai_webhooks_cli.local.moto_aws import LAMBDA_ENVIRONMENT
from openai_webhooks_cli.local.openai_stand_in import API_KEY, OpenAIStandIn
from openai_webhooks_cli.local.sam_template import REGION, variables
from openai_webhooks_subscriber.aws import CONFIG
from tests.support.paths import ROOT

CREATED_AT: Final = 1_750_861_210
_CONFIG: Any = CONFIG  # botocore's options are not in its types
# Each attempt hangs, and the pause is the longest.
SECONDS_FOR_AWS: Final = _CONFIG.retries["total_max_attempts"] * _CONFIG.read_timeout + 1
"""What an example's function waits for at a service of AWS, at most."""


def aws_client(url: str, service: Any) -> Any:
    """Return a boto3 client of a moto server."""
    return boto3.client(service, REGION, endpoint_url=url, aws_access_key_id="testing", aws_secret_access_key="testing")


def store_api_key(aws_url: str, name: str = "openai-api-key", key: str = API_KEY) -> None:
    """Store OpenAI's API key, as a user does before the deployment."""
    aws_client(aws_url, "secretsmanager").create_secret(Name=name, SecretString=key)


def create_table(dynamodb: Any, example: str, logical_id: str, name: str) -> None:
    """Create a table as the template of an example declares it."""
    declared = EXAMPLES[example].defaults.properties(logical_id)
    settings = {key: declared[key] for key in ("BillingMode", "KeySchema", "AttributeDefinitions")}
    dynamodb.create_table(TableName=name, **settings)


@contextmanager
def started(
    example: str,
    logical_id: str,
    *,
    aws_url: str,
    logs: Path,
    openai: OpenAIStandIn | None = None,
    references: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    size: int = 1,
    **parameters: str,
) -> Iterator[FunctionPool]:
    """Run a function of an example until the end of the `with` statement, in `size` processes.

    `references` has the values of the stack's resources, such as `HandledEventsTable`. `parameters` are those of the
    template. `environment` overrides environment variables of the function.
    """
    stack = EXAMPLES[example].at(**parameters | ({"OpenAIBaseUrl": openai.base_url} if openai else {}))
    properties = stack.properties(logical_id)
    declared = {name: str(value) for name, value in stack.value(variables(properties), references).items()}
    function = Function(
        name=logical_id,
        code=ROOT / "examples" / example / "functions",
        handler=properties["Handler"],
        timeout=properties["Timeout"],
        memory=properties["MemorySize"],
        environment={
            **declared,
            **LAMBDA_ENVIRONMENT,
            "AWS_ENDPOINT_URL": aws_url,
            **(environment or {}),
        },
    )
    pool = FunctionPool(function, logs=logs, size=size)
    try:
        pool.wait_until_ready()
        yield pool
    finally:
        pool.close()


def delivered(event_type: str, *, event_id: str | None = None, **data: object) -> dict[str, Any]:
    """Return a sample event as EventBridge passes it to a function. `data` replaces fields of OpenAI's data."""
    event = samples.sample(event_type, created_at=CREATED_AT, event_id=event_id or samples.new_id("evt_"))
    event["data"] |= data
    return {
        "version": "0",
        "id": samples.new_id("eventbridge-"),
        "detail-type": event_type,
        "source": "openai.com",
        "account": "123456789012",
        "time": "2025-06-25T14:20:10Z",
        "region": REGION,
        "resources": [],
        "detail": event,
    }
