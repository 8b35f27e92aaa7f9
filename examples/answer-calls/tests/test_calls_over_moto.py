"""The function that answers calls, in processes of its own, over moto and the stand-in for OpenAI's API."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import count, product
from typing import Any, Final

import pytest
from werkzeug import Response

from examples.tests.support.example_functions import aws_client, create_table, delivered, started, store_api_key
from examples.tests.support.templates import EXAMPLES
from openai_webhooks_cli import samples
from openai_webhooks_cli.local.function_pool import FunctionFailed, FunctionPool
from openai_webhooks_cli.local.openai_stand_in import API_KEY, OpenAIRequest, OpenAIStandIn, RefusedError
from tests.support.background import wait_until
from tests.support.faulty_proxy import FaultyProxy
from tests.support.moto_stack import moto_server

NUMBER: Final = "+14155550100"
CANARY: Final = "canary-7d1f"
FROM: Final = f'"{CANARY}" <sip:{NUMBER}@{CANARY}.example.com>;tag={CANARY}'
STRANGER: Final = FROM.replace(NUMBER, "+14155550199")
SECRETS: Final = (CANARY, "415555", "sk-local", "sk-wrong")
TABLE: Final = "handled-events"


@dataclass
class Calls:
    """The function, and OpenAI, to which the calls come in."""

    pool: FunctionPool
    openai: OpenAIStandIn
    output: list[str] = field(default_factory=list)
    """Everything that the function wrote or raised."""

    def ring(self, *sip_headers: tuple[str, str]) -> dict[str, Any]:
        """Let a call come in. Return its event as EventBridge passes it to the function."""
        call_id = samples.new_id("rtc_")
        self.openai.calls[call_id] = "ringing"
        headers = [{"name": name, "value": value} for name, value in sip_headers or [("From", FROM)]]
        return delivered("realtime.call.incoming", call_id=call_id, sip_headers=headers)

    def invoke(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """Invoke the function. Return the lines that it logs. Raises FunctionFailed."""
        try:
            lines = self.pool.invoke(event).log
        except FunctionFailed as error:
            self.output += [str(error), error.details, *error.log]
            raise
        self.output += lines
        return [json.loads(line) for line in lines]

    def requests(self, event: dict[str, Any]) -> list[tuple[str, Any]]:
        """Return the requests that OpenAI got for a call: their actions and bodies."""
        return [(request.action, request.body) for request in self.openai.requests if request.id == call_id(event)]

    def state(self, event: dict[str, Any]) -> str:
        return self.openai.calls[call_id(event)]


def call_id(event: dict[str, Any]) -> str:
    return str(event["detail"]["data"]["call_id"])


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    with moto_server() as url:
        store_api_key(url)
        store_api_key(url, "another-key", "sk-wrong")
        create_table(aws_client(url, "dynamodb"), "answer-calls", "HandledEventsTable", TABLE)
        yield url


@pytest.fixture(scope="module")
def local_openai() -> Iterator[OpenAIStandIn]:
    with OpenAIStandIn() as running:
        yield running


@pytest.fixture
def openai(local_openai: OpenAIStandIn) -> Iterator[OpenAIStandIn]:
    normal = local_openai.on_request
    yield local_openai
    local_openai.on_request = normal


@pytest.fixture(scope="module")
def start(aws: str, local_openai: OpenAIStandIn, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Return a function that runs the example's function, at these parameters of its template."""
    surroundings: dict[str, Any] = {
        "aws_url": aws,
        "openai": local_openai,
        "logs": tmp_path_factory.mktemp("logs"),
        "references": {"HandledEventsTable": TABLE},
    }
    return partial(started, "answer-calls", "AnswerCallFunction", **surroundings)


@pytest.fixture(scope="module")
def pool(start: Callable[..., Any]) -> Iterator[FunctionPool]:
    """Two instances. At DEBUG they log the most that the template allows."""
    with start(size=2, AllowedCallers=f"+12025550123,{NUMBER}", Instructions="Be kind.", LogLevel="DEBUG") as running:
        yield running


@pytest.fixture
def calls(pool: FunctionPool, openai: OpenAIStandIn) -> Iterator[Calls]:
    calls = Calls(pool, openai)
    yield calls
    assert found(calls.output) == []


def found(output: list[str]) -> list[str]:
    """Return what must not be in the output, but is."""
    return [secret for secret in SECRETS if any(secret in line for line in output)]


def line(event: dict[str, Any], answer: str, reason: str) -> dict[str, str]:
    """Return what a log line says about a call."""
    return {
        "correlation_id": event["detail"]["id"],
        "call_id": call_id(event),
        "answer": answer,
        "reason": reason,
    }


ACCEPT: Final = ("calls.accept", {"type": "realtime", "model": "gpt-realtime-2", "instructions": "Be kind."})
REJECT: Final = ("calls.reject", {"status_code": 603})
CALLERS: Final[dict[str, tuple[list[tuple[str, str]], tuple[str, Any], str]]] = {
    "allowed": ([("To", "sip:+18005550100@host"), ("From", FROM)], ACCEPT, "caller_allowed"),
    "not allowed": ([("From", STRANGER)], REJECT, "caller_not_allowed"),
    "two From headers": ([("From", FROM), ("From", STRANGER)], REJECT, "no_single_caller"),
    "no number": ([("From", f"sip:{CANARY}@anonymous.invalid")], REJECT, "no_single_caller"),
    "many headers": ([*[("Via", CANARY * 5)] * 10_000, ("From", FROM)], ACCEPT, "caller_allowed"),
    "many From headers": ([("From", FROM)] * 10_000, REJECT, "no_single_caller"),
}


def test_caller_gets_answer(calls: Calls) -> None:
    for case, (headers, request, reason) in CALLERS.items():
        event = calls.ring(*headers)

        [logged] = calls.invoke(event)

        assert calls.requests(event) == [request], case
        assert f"calls.{calls.state(event)}" == request[0], case
        assert line(event, calls.state(event), reason).items() <= logged.items(), case


def test_duplicate_sends_no_request(calls: Calls, aws: str) -> None:
    event = calls.ring()

    lines = [calls.invoke(event | {"id": f"copy-{copy}"}) for copy in range(3)]

    assert calls.requests(event) == [ACCEPT]
    assert [len(logged) for logged in lines] == [1, 0, 0]
    records = aws_client(aws, "dynamodb").scan(TableName=TABLE)["Items"]
    assert records
    assert found([json.dumps(records)]) == []


def test_concurrent_duplicate_sends_no_request_and_succeeds(calls: Calls) -> None:
    event = calls.ring()
    other_ended = threading.Event()

    def answer_late(_: OpenAIRequest) -> None:
        other_ended.wait(10)

    calls.openai.on_request = answer_late
    with ThreadPoolExecutor(2) as threads:
        invocations = [threads.submit(calls.invoke, event) for _ in range(2)]
        ended, _ = wait(invocations, return_when=FIRST_COMPLETED, timeout=10)
        # The copy can end before the request arrives, because its claim is refused first.
        requests = wait_until(lambda: calls.requests(event), "a request")
        other_ended.set()
    [first] = ended

    assert requests == calls.requests(event) == [ACCEPT]
    assert [logged["message"] for logged in first.result()] == ["Call is being answered by another invocation"]
    assert all(invocation.result() for invocation in invocations)


def next_of(answers: Iterator[Response], _: OpenAIRequest) -> Response | None:
    return next(answers, None)


def test_server_error_is_retried_at_once(calls: Calls) -> None:
    for headers in ({}, {"retry-after": "30"}, {"x-should-retry": "false"}):
        event = calls.ring()
        answers = iter([Response(status=503, headers=headers)])
        calls.openai.on_request = partial(next_of, answers)

        calls.invoke(event)

        first, second = (request.time for request in calls.openai.requests if request.id == call_id(event))
        assert second - first < 1, headers
        assert calls.requests(event) == [ACCEPT, ACCEPT], headers
        assert calls.state(event) == "accept", headers


def test_failed_event_can_be_redriven(calls: Calls) -> None:
    event = calls.ring()
    calls.openai.on_request = lambda _: Response(status=500)
    with pytest.raises(FunctionFailed, match="InternalServerError"):
        calls.invoke(event)
    assert len(calls.requests(event)) == 2

    calls.openai.on_request = lambda _: None
    calls.invoke(event)

    assert calls.state(event) == "accept"


def refuse(status: int, _: OpenAIRequest) -> None:
    raise RefusedError(status, CANARY)


def test_call_that_no_longer_rings_is_logged(calls: Calls) -> None:
    answers = {FROM: ("accept", "caller_allowed"), STRANGER: ("reject", "caller_not_allowed")}
    for status, caller in product((404, 409), answers):
        event = calls.ring(("From", caller))
        calls.openai.on_request = partial(refuse, status)

        [logged] = calls.invoke(event)

        assert len(calls.requests(event)) == 1, status
        assert (logged["level"], logged["status"]) == ("WARNING", status)
        assert line(event, *answers[caller]).items() <= logged.items()


def test_refused_request_fails(calls: Calls) -> None:
    for status in (400, 401, 403, 429):
        event = calls.ring()
        calls.openai.on_request = partial(refuse, status)

        with pytest.raises(FunctionFailed, match=f"OpenAI answered {status}, "):
            calls.invoke(event)

        assert len(calls.requests(event)) == 1, status


def test_answer_after_timeout_counts_as_answered(calls: Calls) -> None:
    event = calls.ring()
    attempts, retried = count(1), threading.Event()

    def answer_first_attempt_late(request: OpenAIRequest) -> Response | None:
        if next(attempts) > 1:
            retried.set()
            return None
        calls.openai.calls[request.id] = "accept"
        retried.wait(10)
        return Response()

    calls.openai.on_request = answer_first_attempt_late
    [logged] = calls.invoke(event)

    assert calls.requests(event) == [ACCEPT, ACCEPT]
    assert logged["status"] == 404


def test_changed_fields_fail_without_request(calls: Calls) -> None:
    headers = [{"name": "From", "text": FROM}]
    for changes in ({"sip_headers": None}, {"sip_headers": headers}, {"sip_headers": {"From": FROM}}, {"call_id": 1}):
        event = calls.ring()
        ringing = call_id(event)
        event["detail"]["data"] |= changes

        with pytest.raises(FunctionFailed, match="UnexpectedEvent"):
            calls.invoke(event)

        assert calls.openai.calls[ringing] == "ringing", changes


def test_list_without_numbers_answers_all_callers_alike(start: Callable[..., Any], openai: OpenAIStandIn) -> None:
    default = EXAMPLES["answer-calls"].defaults.parameters["Instructions"]["Default"]
    accept = ("calls.accept", {"type": "realtime", "model": "another-model", "instructions": default})
    cases: list[tuple[dict[str, str], Any]] = [
        ({"RejectStatusCode": "486"}, ("calls.reject", {"status_code": 486})),  # the list is empty by default
        ({"AllowedCallers": "*", "Model": "another-model"}, accept),
    ]
    for parameters, answer in cases:
        with start(**parameters) as pool:
            calls = Calls(pool, openai)
            events = [calls.ring(), calls.ring(("From", "sip:anonymous@anonymous.invalid"))]
            for event in events:
                calls.invoke(event)

        assert [calls.requests(event) for event in events] == [[answer], [answer]], parameters
        assert found(calls.output) == []


# https://docs.aws.amazon.com/eventbridge/latest/ref/events-ref-scheduled-event.html
SCHEDULED: Final = {
    "version": "0",
    "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
    "detail-type": "Scheduled Event",
    "source": "aws.events",
    "account": "123456789012",
    "time": "2015-10-08T16:53:06Z",
    "region": "us-east-1",
    "resources": ["arn:aws:events:us-east-1:123456789012:rule/KeepRunning"],
    "detail": {},
}


def test_schedule_reads_api_key_before_call(start: Callable[..., Any], openai: OpenAIStandIn, aws: str) -> None:
    store_api_key(aws, "read-key", "sk-wrong")
    secrets_manager = aws_client(aws, "secretsmanager")
    with start(AllowedCallers="*", OpenAIApiKeySecretName="read-key") as pool:
        calls = Calls(pool, openai)
        before = len(openai.requests)
        assert calls.invoke(SCHEDULED) == []
        secrets_manager.put_secret_value(SecretId="read-key", SecretString=API_KEY)
        # Although the first key is still in the cache.
        assert calls.invoke(SCHEDULED) == []
        assert len(openai.requests) == before

        # The call does not wait for Secrets Manager.
        secrets_manager.delete_secret(SecretId="read-key", ForceDeleteWithoutRecovery=True)
        event = calls.ring()
        calls.invoke(event)

    assert calls.state(event) == "accept"


def test_connection_that_died_delays_call(start: Callable[..., Any], openai: OpenAIStandIn, aws: str) -> None:
    with ExitStack() as proxies:
        proxy_of = {
            service: proxies.enter_context(closing(FaultyProxy(aws))) for service in ("DYNAMODB", "SECRETS_MANAGER")
        }
        environment = {f"AWS_ENDPOINT_URL_{service}": proxy.url for service, proxy in proxy_of.items()}
        with start(AllowedCallers="*", environment=environment) as pool:
            calls = Calls(pool, openai)
            event = calls.ring()
            for proxy in proxy_of.values():
                proxy.fail("hangs once")
            calls.invoke(event)

    assert all(proxy.requests > 1 for proxy in proxy_of.values())
    assert calls.state(event) == "accept"


def test_useless_api_key_fails_without_showing_it(start: Callable[..., Any], openai: OpenAIStandIn) -> None:
    missing = r"^NoApiKey: .*create-secret --name no-key "
    for name, event_of, error in (
        ("no-key", lambda _: SCHEDULED, missing),
        ("no-key", Calls.ring, missing),
        ("another-key", Calls.ring, "^AuthenticationError: "),
    ):
        with start(AllowedCallers="*", OpenAIApiKeySecretName=name) as pool:
            calls = Calls(pool, openai)
            with pytest.raises(FunctionFailed, match=error):
                calls.invoke(event_of(calls))

        assert found(calls.output) == []
