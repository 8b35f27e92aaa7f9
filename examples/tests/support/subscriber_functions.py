"""The subscriber's functions over DynamoDB, with the settings of their template."""

import importlib
import json
import logging
import sys
import time
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Final

import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from examples.tests.support.templates import SUBSCRIBER
from openai_webhooks_cli.local.function_process import LambdaContext
from openai_webhooks_cli.local.moto_aws import LAMBDA_ENVIRONMENT
from tests.support.paths import ROOT

FUNCTIONS: Final = ROOT / "examples/subscriber/functions"


@dataclass
class Table:
    """The table of handled events."""

    dynamodb: DynamoDBClient
    NAME: Final = "handled-events"

    def create(self) -> None:
        declared = SUBSCRIBER.defaults.properties("HandledEventsTable")
        settings = {key: declared[key] for key in ("BillingMode", "KeySchema", "AttributeDefinitions")}
        self.dynamodb.create_table(TableName=self.NAME, **settings)

    def records(self) -> list[dict[str, Any]]:
        """Return all records, without DynamoDB's type tags."""
        items = self.dynamodb.scan(TableName=self.NAME)["Items"]
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in items]

    def delete(self) -> None:
        self.dynamodb.delete_table(TableName=self.NAME)


@dataclass
class Function:
    """An instance of a function: its module, freshly imported."""

    name: str
    module: ModuleType
    timeout: int
    memory: int
    capsys: pytest.CaptureFixture[str]
    output: list[str] = field(default_factory=list)
    """Everything that it wrote to stdout and stderr."""

    def __call__(self, event: dict[str, Any], *, remaining: float | None = None) -> list[dict[str, Any]]:
        """Invoke the function with an event as EventBridge passes it. Return the lines that it logs.

        `remaining` is the time until Lambda ends the invocation, in seconds. By default it is the function's time-out.
        """
        context = LambdaContext(
            function_name=self.name,
            memory_limit_in_mb=self.memory,
            invoked_function_arn=f"arn:aws:lambda:us-east-1:123456789012:function:{self.name}",
            aws_request_id="00000000-0000-0000-0000-000000000000",
            deadline=time.monotonic() + (self.timeout if remaining is None else remaining),
        )
        try:
            self.module.handler(event, context)
        finally:
            written = self.capsys.readouterr()
            self.output += [written.out, written.err]
        return [json.loads(line) for line in written.out.splitlines()]


@dataclass(frozen=True)
class Starter:
    """Starts instances of the functions."""

    table: Table
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def __call__(self, name: str, **parameters: str) -> Function:
        """Start an instance of the function with this logical id, at these parameters of the template."""
        stack = SUBSCRIBER.at(**parameters) if parameters else SUBSCRIBER.defaults
        declared = stack.properties(name)
        variables = stack.value(declared["Environment"]["Variables"], {"HandledEventsTable": Table.NAME})
        endpoint = {"AWS_ENDPOINT_URL": self.table.dynamodb.meta.endpoint_url, "AWS_LAMBDA_FUNCTION_NAME": name}
        for variable, value in (variables | LAMBDA_ENVIRONMENT | endpoint).items():
            self.monkeypatch.setenv(variable, value)
        forget_modules()
        module = importlib.import_module(declared["Handler"].removesuffix(".handler"))
        return Function(name, module, declared["Timeout"], declared["MemorySize"], self.capsys)


def forget_modules() -> None:
    """Remove the functions' modules and their logger, which Powertools configures only once."""
    for name in [*(path.stem for path in FUNCTIONS.glob("*.py")), "openai_webhooks_subscriber"]:
        for module in [module for module in sys.modules if module.partition(".")[0] == name]:
            del sys.modules[module]
    logging.Logger.manager.loggerDict.pop("subscriber", None)
