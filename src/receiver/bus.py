"""The event bus: the form of an event on it, and how to publish one."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from openai_webhooks import Malformed, WebhookEvent
from receiver.aws import AwsError, error_code
from receiver.rejections import PublishFailed, TooLarge

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_events.type_defs import PutEventsRequestEntryTypeDef

# https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size
MAX_ENTRY_BYTES = 1024 * 1024
_TIME_BYTES = 14

_YEAR_10000 = 253_402_300_800  # Unix seconds; datetime ends before it


class EventBus:
    """The bus that the receiver publishes to."""

    def __init__(self, eventbridge: "EventBridgeClient", *, name: str, source: str) -> None:
        self._eventbridge = eventbridge
        self._name = name
        self._source = source

    def to_entry(self, body: bytes, event: WebhookEvent, endpoint: str = "") -> "PutEventsRequestEntryTypeDef":
        """Return the PutEvents entry of a delivery: its body verbatim, with OpenAI's type as the detail type.

        If the endpoint has a name, `openai:endpoint/NAME` is the entry's resource. Raises TooLarge if EventBridge would
        refuse the entry because of its size.
        """
        resources = [f"openai:endpoint/{endpoint}"] if endpoint else []
        texts = (self._source, event.type, *resources)
        if _TIME_BYTES + sum(len(text.encode()) for text in texts) + len(body) > MAX_ENTRY_BYTES:
            raise TooLarge(f"the event does not fit in the {MAX_ENTRY_BYTES} bytes of an event bus entry")
        entry: PutEventsRequestEntryTypeDef = {
            "EventBusName": self._name,
            "Source": self._source,
            "DetailType": event.type,
            "Detail": body.decode(),
        }
        if resources:
            entry["Resources"] = resources
        created_at = getattr(event, "created_at", None)
        # Without a valid `created_at`, EventBridge sets the time of arrival.
        if type(created_at) is int and 0 <= created_at < _YEAR_10000:
            entry["Time"] = datetime.fromtimestamp(created_at, UTC)
        return entry

    def publish(self, entry: "PutEventsRequestEntryTypeDef") -> str:
        """Put the entry on the bus and return EventBridge's id for it.

        Raises Malformed or TooLarge if EventBridge can never accept the entry, and otherwise PublishFailed.
        """
        try:
            result = self._eventbridge.put_events(Entries=[entry])["Entries"][0]
        except AwsError as error:
            if _is_about_size(error):
                raise TooLarge("the event is larger than EventBridge accepts in this region") from None
            code = error_code(error)
        else:
            # PutEvents answers 200 for an entry that it refused.
            if "EventId" in result:
                return result["EventId"]
            code = result.get("ErrorCode", "no EventId")
            if code == "MalformedDetail":
                raise Malformed("EventBridge cannot read the body, for example because of a number beyond 64 bits")
        raise PublishFailed(
            f"{code} from PutEvents on bus {self._name}. OpenAI retries the delivery. If this continues, check that "
            "the bus exists and that the function's role allows events:PutEvents on it"
        )


def _is_about_size(error: Exception) -> bool:
    """Return whether PutEvents refused the size. Some regions have a lower limit than MAX_ENTRY_BYTES."""
    return (
        isinstance(error, ClientError)
        and error_code(error) == "ValidationException"
        and "size of the entries" in error.response["Error"].get("Message", "")
    )
