"""The subscriber's functions, started as Lambda starts them, with the environment that their template declares.

Tests take their types from here for annotations only, and everything else through fixtures.
"""

import importlib
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

import boto3
import botocore.loaders
import botocore.session
import pytest
from moto.server import ThreadedMotoServer
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SUBSCRIBER: Final = Path(__file__).parents[3] / "examples/subscriber"
# Lambda's own variables.
RUNTIME: Final = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@pytest.fixture(scope="session")
def resources() -> dict[str, dict[str, Any]]:
    """The properties of all that the template declares, after SAM's transform."""
    source = yaml_parse((SUBSCRIBER / "template.yaml").read_text())
    source["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"  # SAM translates packaged templates
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name="us-east-1"))
    translated = translator.translate(source, parameter_values={})
    return {name: resource["Properties"] for name, resource in translated["Resources"].items()}


@pytest.fixture(scope="session")
def dynamodb() -> Iterator["DynamoDBClient"]:
    # It runs in this process: without this, its requests would stand among the functions' own logs.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    session = boto3.Session("testing", "testing", region_name="us-east-1")
    with closing(session.client("dynamodb", endpoint_url=f"http://{host}:{port}")) as client:
        yield client
    server.stop()


@dataclass
class Table:
    """The table of handled events."""

    dynamodb: "DynamoDBClient"
    NAME: Final = "handled-events"

    def records(self) -> list[dict[str, Any]]:
        """Without DynamoDB's type tags."""
        items = self.dynamodb.scan(TableName=self.NAME)["Items"]
        return [{name: next(iter(value.values())) for name, value in item.items()} for item in items]

    def delete(self) -> None:
        self.dynamodb.delete_table(TableName=self.NAME)


@pytest.fixture
def table(dynamodb: "DynamoDBClient", resources: dict[str, dict[str, Any]]) -> Iterator[Table]:
    declared = resources["HandledEventsTable"]
    table = Table(dynamodb)
    dynamodb.create_table(
        TableName=Table.NAME, **{key: declared[key] for key in ("BillingMode", "KeySchema", "AttributeDefinitions")}
    )
    yield table
    with suppress(dynamodb.exceptions.ResourceNotFoundException):  # a test may have deleted it
        table.delete()


@dataclass(frozen=True)
class Context:
    """As much of Lambda's context as the functions read."""

    function_name: str
    remaining_ms: int
    memory_limit_in_mb: int = 256
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:subscriber"
    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        return self.remaining_ms


@dataclass
class Function:
    """An instance of a function: its module freshly imported."""

    name: str
    module: ModuleType
    handle: Callable[[dict[str, Any], Context], None]
    capsys: pytest.CaptureFixture[str]
    output: list[str] = field(default_factory=list)
    """All that was written to stdout and stderr."""

    def __call__(self, event: dict[str, Any], *, remaining_ms: int = 30_000) -> list[dict[str, Any]]:
        """Invoke it with an event as EventBridge hands it over. Returns the lines that it logs."""
        try:
            self.handle(event, Context(self.name, remaining_ms))
        finally:
            written = self.capsys.readouterr()
            self.output += [written.out, written.err]
        return [json.loads(line) for line in written.out.splitlines()]


type Start = Callable[..., Function]
"""Starts an instance of a function, by its logical id. Keyword arguments are the template's parameters."""


@pytest.fixture(scope="session")
def service_models() -> botocore.loaders.Loader:
    """botocore's descriptions of the services, read once: a client of its own for each instance is cheap then."""
    return botocore.loaders.create_loader()


@pytest.fixture
def start(
    table: Table,
    service_models: botocore.loaders.Loader,
    resources: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Start]:
    # Nothing of the developer's own configuration.
    for name in [name for name in os.environ if re.match("AWS_|POWERTOOLS_", name)]:
        monkeypatch.delenv(name)
    monkeypatch.syspath_prepend(SUBSCRIBER / "functions")
    monkeypatch.setattr(botocore.session, "create_loader", lambda _: service_models)

    def start(name: str, **parameters: str) -> Function:
        values = {"HandledEventsTable": Table.NAME, "LogLevel": "INFO"} | parameters
        declared = resources[name]["Environment"]["Variables"]
        resolved = {
            variable: values[value["Ref"]] if isinstance(value, dict) else value for variable, value in declared.items()
        }
        environment = resolved | RUNTIME | {"AWS_LAMBDA_FUNCTION_NAME": name}
        for variable, value in environment.items():
            monkeypatch.setenv(variable, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", table.dynamodb.meta.endpoint_url)
        forget()
        module_name, _, handler = resources[name]["Handler"].rpartition(".")
        module = importlib.import_module(module_name)
        return Function(name, module, getattr(module, handler), capsys)

    yield start
    forget()


def forget() -> None:
    """Drop the functions' modules, and their logger: Powertools configures one only once."""
    for path in (SUBSCRIBER / "functions").glob("*.py"):
        sys.modules.pop(path.stem, None)
    logging.Logger.manager.loggerDict.pop("subscriber", None)
