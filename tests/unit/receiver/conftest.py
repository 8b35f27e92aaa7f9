"""The receiver over an AWS in memory."""

import os
import re
from collections.abc import Iterator

import pytest
import time_machine

from receiver.receiver import Receiver
from tests.support.in_memory_aws import InMemoryAws
from tests.support.log_capture import every_log, text
from tests.support.receiver_instance import NOW, Clock, ReceiverInstance, Start, environment, in_memory_aws
from tests.support.scenarios import SCENARIOS, Played, Scenario


@pytest.fixture(autouse=True)
def _no_settings_of_the_developer(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if re.match("AWS_|POWERTOOLS_", name)]:
        monkeypatch.delenv(name)


@pytest.fixture
def clock() -> Iterator[Clock]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield Clock(traveller)


@pytest.fixture
def aws() -> InMemoryAws:
    return in_memory_aws()


@pytest.fixture
def start(aws: InMemoryAws, clock: Clock) -> Start:
    return lambda *, log_level="INFO", **settings: ReceiverInstance(
        aws, clock, {**environment(), **settings}, log_level=log_level
    )


@pytest.fixture
def receiver(start: Start) -> ReceiverInstance:
    return start()


_played: dict[str, Played] = {}


@pytest.fixture(params=[pytest.param(scenario, id=scenario.name) for scenario in SCENARIOS])
def played(request: pytest.FixtureRequest, aws: InMemoryAws, start: Start, monkeypatch: pytest.MonkeyPatch) -> Played:
    """Each scenario, played once. Several tests look at it."""
    scenario: Scenario = request.param
    if scenario.name not in _played:
        _played[scenario.name] = _play(scenario, aws, start, monkeypatch)
    return _played[scenario.name]


def _play(scenario: Scenario, aws: InMemoryAws, start: Start, monkeypatch: pytest.MonkeyPatch) -> Played:
    raised: list[BaseException] = []
    receive = Receiver.receive

    def receive_and_note(*args: object) -> object:
        try:
            return receive(*args)  # type: ignore[arg-type]  # passed on unchanged
        except BaseException as error:
            raised.append(error)
            raise

    with every_log() as records:
        receiver = start(log_level="DEBUG", **scenario.settings)
        scenario.meets(receiver, aws)
        request = receiver.delivery(**scenario.delivery) if scenario.request is None else scenario.request
        monkeypatch.setattr(Receiver, "receive", receive_and_note)
        answer = receiver(request)
    return Played(
        scenario=scenario,
        request=request,
        answer=answer,
        operations=[call.operation for call in receiver.calls],
        arrived=aws.arrived(),
        records=aws.records(),
        stderr=receiver.output[-1],
        written="\n".join([*receiver.output, text(records)]),
        raised=next(iter(raised), None),
    )
