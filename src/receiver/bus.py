"""The event bus: what an event looks like on it, and putting it there."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from openai_webhooks import PublishFailed, TooLarge, WebhookEvent
from receiver.aws import AwsError, reason

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size: in bytes, of
# which Time takes 14.
MAX_ENTRY = 1024 * 1024
_TIME = 14
_YEAR_10000 = 253_402_300_800


def entry(body: bytes, event: WebhookEvent, *, bus_name: str, source: str) -> "PutEventsRequestEntryTypeDef":
    """The PutEvents entry of a delivery: its body verbatim, under OpenAI's own type.

    Raises TooLarge where EventBridge would refuse it for its size.
    """
    if _TIME + len(source.encode()) + len(event.type.encode()) + len(body) > MAX_ENTRY:
        raise TooLarge(f"the event does not fit into the {MAX_ENTRY} bytes of an event bus entry")
    result: PutEventsRequestEntryTypeDef = {
        "EventBusName": bus_name,
        "Source": source,
        "DetailType": event.type,
        "Detail": body.decode(),
    }
    created_at = getattr(event, "created_at", None)
    # An event whose time is not one goes out under the time of its arrival.
    if type(created_at) is int and 0 <= created_at < _YEAR_10000:
        result["Time"] = datetime.fromtimestamp(created_at, UTC)
    return result


def publish(events: "EventBridgeClient", entry: "PutEventsRequestEntryTypeDef") -> str:
    """Put the entry on its bus and return EventBridge's id for it. Raises PublishFailed without one."""
    try:
        result = events.put_events(Entries=[entry])["Entries"][0]
    except AwsError as error:
        failure = reason(error)
    else:
        # PutEvents answers 200 for an entry that it refused.
        if "EventId" in result:
            return result["EventId"]
        failure = result.get("ErrorCode", "no EventId")
    raise PublishFailed(
        f"{failure} from PutEvents on bus {entry['EventBusName']}: OpenAI redelivers the event; if this goes on, "
        "check that the bus exists and that the function may events:PutEvents on it"
    )
