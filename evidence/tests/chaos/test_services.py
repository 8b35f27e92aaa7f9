"""The services over HTTP: they answer as the in-memory AWS, and the middleware decides what a caller sees."""

from functools import cache
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from evidence.chaos import services
from openai_webhooks_cli.local.sam_template import REGION
from tests.integration.test_in_memory_aws import BUS, CASES, SECRET_ID, TABLE, Clients, answer, claim
from tests.support import asyncio_http as http
from tests.support.in_memory_aws import InMemoryAws
from tests.support.receiver_instance import SECRET


def at(port: int) -> Clients:
    @cache
    def client(service: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://{http.LOOPBACK}:{port}",
            region_name=REGION,
            aws_access_key_id="caller",
            aws_secret_access_key="secret",
            config=Config(retries={"total_max_attempts": 1}, read_timeout=0.3),
        )

    return client


def fresh(middleware: services.Middleware | None = None) -> services.Services:
    more = {"middleware": middleware} if middleware else {}
    return services.Services(secret_id=SECRET_ID, secret=SECRET, table=TABLE, bus=BUS, **more)


def test_answers_over_http_are_those_of_in_memory_aws() -> None:
    """tests/integration/test_in_memory_aws.py compares that with moto."""
    for case, steps in CASES.items():
        in_memory = InMemoryAws(secret_id=SECRET_ID, secret=SECRET, table=TABLE, bus=BUS)
        with services.in_thread(fresh()) as port:
            client = at(port)
            answers = [answer(client(step.service), step) for step in steps]
        assert answers == [answer(in_memory.client(step.service), step) for step in steps], case


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (services.Answer.error("ThrottlingException"), "ThrottlingException"),
        (services.Answer.error("InternalFailure", status=500), "InternalFailure"),
        ("reset", "ConnectionClosedError"),
        ("hang", "ReadTimeoutError"),
    ],
)
@pytest.mark.parametrize("takes_effect", [False, True])
def test_middleware_decides_what_the_caller_sees(
    answer: services.Answer | services.Break, error: str, *, takes_effect: bool
) -> None:
    calls = []

    def middleware(call: services.Call, serve: services.Serve) -> services.Answer | services.Break:
        calls.append((call.operation, call.caller))
        if takes_effect:
            serve(call)
        return answer

    ours = fresh(middleware)
    with services.in_thread(ours) as port:
        client = at(port)("dynamodb")
        with pytest.raises((ClientError, BotoCoreError)) as raised:
            client.put_item(**claim().parameters)
    seen = raised.value
    assert error == (seen.response["Error"]["Code"] if isinstance(seen, ClientError) else type(seen).__name__)
    assert calls == [("PutItem", "caller")]
    assert len(ours.table.items) == int(takes_effect)
