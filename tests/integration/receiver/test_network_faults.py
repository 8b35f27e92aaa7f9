"""Promise 3 with real connections: services that fail and networks that break, between the receiver and moto."""

import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final
from uuid import uuid4

import pytest
import trustme

from receiver.aws import client
from tests.support.faulty_proxy import FaultyProxy
from tests.support.moto_stack import CREDENTIALS, MotoStack
from tests.support.receiver_instance import EVENT_ID, OTHER_SECRET, Clock, ReceiverInstance, ids

BUDGET: Final = 5  # seconds for an answer, with the times in receiver/aws.py
BUDGET_OF_ONE: Final = 2  # seconds for an answer if one service hangs: 1.5 s, and the rest of the delivery
HANGS: Final = {
    "hangs at connect": "ConnectTimeoutError",
    "hangs in TLS": "ReadTimeoutError",
    "hangs": "ReadTimeoutError",
}
FAULTS: Final = ["throttled", "bad gateway", "refused", "reset", "answer lost"]

# The status of a delivery while a service fails.
STATUS: Final = {"secretsmanager": 503, "dynamodb": 200, "events": 503}

type Proxies = dict[str, FaultyProxy]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def proxies(
    stack: MotoStack, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Proxies]:
    """A proxy for each service, over TLS."""
    bundle = tmp_path / "bundle.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    proxies = {service: FaultyProxy(stack.endpoint, tls) for service in STATUS}
    yield proxies
    for proxy in proxies.values():
        proxy.recover()
        proxy.close()


class ProxiedAws:
    """The clients of `receiver.aws`, each behind the proxy of its service."""

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies

    def client(self, service: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in CREDENTIALS.items():
                patch.setenv(name, value)
            patch.setenv("AWS_ENDPOINT_URL", self._proxies[service].url)
            return client(service)


@pytest.fixture
def receiver(stack: MotoStack, proxies: Proxies, clock: Clock) -> ReceiverInstance:
    stack.arrived()
    return ReceiverInstance(ProxiedAws(proxies), clock, stack.settings)


@pytest.fixture
def deliver(receiver: ReceiverInstance) -> Callable[[], Any]:
    """Makes the same delivery each time, with an id that no other test uses."""
    webhook_id = f"wh_{uuid4().hex}"
    return lambda: receiver.deliver(webhook_id=webhook_id)


def test_delivery_without_a_fault_is_published(deliver: Callable[[], Any], stack: MotoStack) -> None:
    assert deliver().body == {"outcome": "published"}
    assert ids(stack.arrived()) == [EVENT_ID]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("service", STATUS)
def test_fault_loses_nothing(
    service: str, fault: str, receiver: ReceiverInstance, deliver: Callable[[], Any], proxies: Proxies, stack: MotoStack
) -> None:
    proxies[service].fail(fault)
    started = time.monotonic()
    answer = deliver()
    assert time.monotonic() - started < BUDGET
    assert answer.status == STATUS[service]

    proxies[service].recover()
    if answer.status != 200:
        receiver.clock.advance(int(answer.headers["retry-after"]))
        assert deliver().body == {"outcome": "published"}
    # PutEvents has no idempotency token: what is sent again after a lost answer arrives again.
    copies = 3 if (service, fault) == ("events", "answer lost") else 1
    assert ids(stack.arrived()) == [EVENT_ID] * copies


@pytest.mark.parametrize(
    ("service", "fault", "copies"),
    [
        ("secretsmanager", "reset", 1),
        ("secretsmanager", "answer lost", 1),
        ("dynamodb", "reset", 1),
        ("dynamodb", "answer lost", 1),  # the second attempt meets the claim of the first
        ("events", "reset", 1),
        ("events", "hangs", 1),
        ("events", "answer lost", 2),
    ],
)
def test_fault_of_one_request_is_hidden_by_the_second_attempt(
    *,
    service: str,
    fault: str,
    copies: int,
    receiver: ReceiverInstance,
    deliver: Callable[[], Any],
    proxies: Proxies,
    stack: MotoStack,
) -> None:
    """For example, a kept-alive connection died while the function was frozen."""
    proxies[service].fail(f"{fault} once")
    answer = deliver()
    assert (answer.status, answer.metrics) == (200, {"Published": 1})
    assert ids(stack.arrived()) == [EVENT_ID] * copies
    receiver.clock.advance(10.001)
    assert deliver().body == {"outcome": "duplicate"}


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("error 500", "InternalFailure"),
        ("bad gateway", "502"),
        ("refused", "EndpointConnectionError ({url}/)"),
        ("reset", "ConnectionClosedError ({url}/)"),
    ],
)
def test_log_names_the_fault(fault: str, code: str, deliver: Callable[[], Any], proxies: Proxies) -> None:
    proxies["events"].fail(fault)
    answer = deliver()
    assert answer.metrics == {"PublishFailed": 1}
    assert answer.line["reason"].startswith(f"{code.format(url=proxies['events'].url)} from PutEvents")
    # A service is called once more and not again, because there is no time for it.
    assert proxies["events"].requests == (0 if fault == "refused" else 2)


@pytest.mark.parametrize("hang", HANGS)
@pytest.mark.parametrize("service", STATUS)
def test_answer_is_in_time_while_a_service_hangs(
    service: str, hang: str, receiver: ReceiverInstance, deliver: Callable[[], Any], proxies: Proxies
) -> None:
    receiver.deliver(webhook_id=f"wh_{uuid4().hex}")
    receiver.clock.advance(300)
    proxies[service].fail(hang)
    started = time.monotonic()
    answer = deliver()
    assert time.monotonic() - started < BUDGET_OF_ONE
    assert answer.status == (503 if service == "events" else 200)  # cached keys stay in use


@pytest.mark.parametrize("hang", HANGS)
def test_answer_is_in_time_while_every_service_hangs(
    hang: str, receiver: ReceiverInstance, deliver: Callable[[], Any], proxies: Proxies
) -> None:
    """The longest way: the known keys are due, then the claim, then the publish."""
    receiver.deliver(webhook_id=f"wh_{uuid4().hex}")
    receiver.clock.advance(300)
    for proxy in proxies.values():
        proxy.requests = 0
        proxy.fail(hang)
    started = time.monotonic()
    answer = deliver()
    assert time.monotonic() - started < BUDGET
    assert answer.status == 503
    assert answer.metrics == {"PublishFailed": 1, "DeduplicationUnavailable": 1}
    reasons = [line["reason"] for line in [*answer.errors, answer.line]]
    assert [reason.partition(" ")[0] for reason in reasons] == [HANGS[hang]] * 3
    assert [proxy.requests for proxy in proxies.values()] == [2 if hang == "hangs" else 0] * 3


def test_answer_is_in_time_while_every_call_is_slow(
    receiver: ReceiverInstance, proxies: Proxies, stack: MotoStack
) -> None:
    """The most calls: a new instance, and a delivery that the pending secret has signed."""
    stack.client("secretsmanager").put_secret_value(
        SecretId=stack.settings["SIGNING_SECRET_ARN"], SecretString=OTHER_SECRET, VersionStages=["AWSPENDING"]
    )
    for proxy in proxies.values():
        proxy.fail("slow")
    started = time.monotonic()
    answer = receiver.deliver(webhook_id=f"wh_{uuid4().hex}", secret=OTHER_SECRET)
    assert time.monotonic() - started < BUDGET
    assert answer.body == {"outcome": "published"}
    assert [proxy.requests for proxy in proxies.values()] == [4, 2, 1]


@pytest.mark.parametrize("service", STATUS)
def test_service_cannot_ask_for_a_longer_pause(
    service: str, deliver: Callable[[], Any], proxies: Proxies, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an `x-amz-retry-after`, botocore would wait for up to 5 s."""
    pauses: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=pauses.append))
    proxies[service].fail("busy")
    deliver()
    assert len(pauses) == 1
    assert sum(pauses) <= 1
