"""Fixtures: the subscriber's functions, and the table of the events that they handled."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import closing, suppress

import boto3
import botocore.loaders
import botocore.session
import pytest
from mypy_boto3_dynamodb import DynamoDBClient

from examples.tests.support.subscriber_functions import FUNCTIONS, Starter, Table, forget_modules
from openai_webhooks_cli.local import wsgi_server
from openai_webhooks_cli.local.moto_aws import start_server


@pytest.fixture(scope="session")
def dynamodb() -> Iterator[DynamoDBClient]:
    # The server runs in this process, and would log its requests among the functions' own lines.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = start_server()
    session = boto3.Session("testing", "testing", region_name="us-east-1")
    with closing(session.client("dynamodb", endpoint_url=f"http://{server.host}:{server.port}")) as client:
        yield client
    wsgi_server.stop(server)


@pytest.fixture
def table(dynamodb: DynamoDBClient) -> Iterator[Table]:
    table = Table(dynamodb)
    table.create()
    yield table
    with suppress(dynamodb.exceptions.ResourceNotFoundException):  # a test may have deleted it
        table.delete()


@pytest.fixture(scope="session")
def service_models() -> botocore.loaders.Loader:
    """botocore's service descriptions. Instances share them, so that each can create its client fast."""
    return botocore.loaders.create_loader()


@pytest.fixture
def start(
    table: Table,
    service_models: botocore.loaders.Loader,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Starter]:
    # The developer's own configuration must not reach the functions.
    for name in [name for name in os.environ if re.match("AWS_|POWERTOOLS_", name)]:
        monkeypatch.delenv(name)
    monkeypatch.syspath_prepend(FUNCTIONS)
    monkeypatch.setattr(botocore.session, "create_loader", lambda _: service_models)
    yield Starter(table, monkeypatch, capsys)
    forget_modules()
