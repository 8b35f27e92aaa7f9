"""An archive for the receiver's stack in moto."""

import json
import time
import uuid
from typing import Any, Final

import pytest
from moto.events.models import events_backends

from cli.tests.support.deployed_receiver import DeployedReceiver
from openai_webhooks_cli import samples
from openai_webhooks_cli.aws import archive, stack
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION

DAY: Final = 86_400
NAME: Final = "openai-webhooks-EventArchive"


class EventArchive:
    """The archive. It keeps events for 14 days, and was created 30 days ago."""

    def __init__(self, receiver: DeployedReceiver, reached: list[str]) -> None:
        """`reached` gets the ids of the events that reach subscribers."""
        self.receiver = receiver
        self._reached = reached
        self._events = receiver.client("events")
        self.arn: str = self._events.describe_archive(ArchiveName=NAME)["ArchiveArn"]

    def publish(self, event_type: str = "batch.completed", *, ago: float = 3600, **detail: Any) -> dict[str, Any]:
        """Put an event on the bus, `ago` seconds in the past. Return the event. Its id has the time of the event."""
        now = int(time.time() - ago)
        event = samples.sample(event_type, created_at=now, event_id=f"evt_{now:08x}{uuid.uuid4().hex[8:]}") | detail
        entry: Any = {
            "EventBusName": self.receiver.bus,
            "Source": "openai.com",
            "DetailType": event_type,
            "Detail": json.dumps(event),
            "Time": now,
        }
        self._events.put_events(Entries=[entry])
        self.subscribers()
        return event

    def replays(self) -> list[dict[str, Any]]:
        """Return what was asked of EventBridge, in the order of the replays' names."""
        names = sorted(replay["ReplayName"] for replay in self._events.list_replays()["Replays"])
        return [self._events.describe_replay(ReplayName=name) for name in names]

    def subscribers(self) -> list[str]:
        """Return the ids of the events that subscribers got since the last call."""
        found = self._reached[:]
        self._reached.clear()
        return found


def event_archive(receiver: DeployedReceiver, patch: pytest.MonkeyPatch) -> EventArchive:
    """Give the stack an archive until the end of the test."""
    read_stack = stack.read_stack

    def read_stack_with_archive(session: stack.Session, name: str) -> stack.Stack:
        found = read_stack(session, name)
        found.resources["EventArchive"] = stack.Resource("AWS::Events::Archive", NAME)
        return found

    patch.setattr(stack, "read_stack", read_stack_with_archive)
    reached: list[str] = []
    bridge = receiver.aws.event_bridge
    patch.setattr(bridge, "functions", {function.name for function in receiver.subscriber.functions.values()})
    patch.setattr(bridge, "invoke", lambda invocation: reached.append(invocation.event["detail"]["id"]))
    patch.setattr(archive, "QUIET", 0.1)
    patch.setattr(archive, "_WAIT", 0)
    events = receiver.client("events")
    bus_arn = receiver.receiver.outputs["EventBusArn"]
    events.create_archive(
        ArchiveName=NAME, EventSourceArn=bus_arn, RetentionDays=14, EventPattern='{"source": ["openai.com"]}'
    )
    events_backends[ACCOUNT][REGION].archives[NAME].creation_time = time.time() - 30 * DAY
    return EventArchive(receiver, reached)
