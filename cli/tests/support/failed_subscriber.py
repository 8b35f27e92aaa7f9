"""A subscriber in moto whose function failed: a function, its rule, and its dead-letter queue with letters."""

import io
import json
import zipfile
from typing import Any, Final

from cli.tests.support.deployed_receiver import DeployedReceiver
from openai_webhooks_cli import samples
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION

RULE: Final = "orders"
QUEUE: Final = "letters"
QUEUE_ARN: Final = f"arn:aws:sqs:{REGION}:{ACCOUNT}:{QUEUE}"
FUNCTION: Final = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:handler"
UNMATCHED: Final = {"source": ["no event has this source"]}
HIDDEN: Final = "ApproximateNumberOfMessagesNotVisible"


class Subscriber:
    """The function `handler`, its rule `orders`, and the queue `letters` for events that it cannot handle."""

    def __init__(self, receiver: DeployedReceiver) -> None:
        self._receiver = receiver
        self.sqs, self._events, self.functions = map(receiver.client, ("sqs", "events", "lambda"))
        self.url: str = self.sqs.create_queue(QueueName=QUEUE)["QueueUrl"]
        trust = json.dumps({"Principal": {"Service": "lambda.amazonaws.com"}})
        role = receiver.client("iam").create_role(RoleName="handler", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("app.py", "def handler(event, context): ...")
        self.functions.create_function(
            FunctionName="handler",
            Runtime="python3.13",
            Role=role,
            Handler="app.handler",
            Code={"ZipFile": code.getvalue()},
        )
        self.add_rule(RULE, FUNCTION)

    def add_rule(self, name: str, target: str, pattern: Any = UNMATCHED, **settings: Any) -> None:
        """Create a rule whose events go to `target`, and to the queue if that fails."""
        self._events.put_rule(Name=name, EventBusName=self._receiver.bus, EventPattern=json.dumps(pattern))
        entry = {"Id": "1", "Arn": target, "DeadLetterConfig": {"Arn": QUEUE_ARN}, **settings}
        self._events.put_targets(Rule=name, EventBusName=self._receiver.bus, Targets=[entry])

    def add_letter(self, rule: str = RULE, event: Any = None, **attributes: str) -> dict[str, Any]:
        """Put a letter of EventBridge into the queue. Return the event."""
        event = event or envelope()
        arn = f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{self._receiver.bus}/{rule}"
        self.send(json.dumps(event), **{"RULE_ARN": arn, "ERROR_CODE": "NO_PERMISSIONS", **attributes})
        return event  # type: ignore[no-any-return]

    def add_record(self, function: str = f"{FUNCTION}:$LATEST") -> dict[str, Any]:
        """Put a record of Lambda into the queue. Return the event."""
        event = envelope()
        context = {"functionArn": function, "condition": "RetriesExhausted"}
        self.send(json.dumps({"requestContext": context, "requestPayload": event, "responsePayload": None}))
        return event

    def send(self, body: str, **attributes: str) -> None:
        """Put a message into the queue."""
        values = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        self.sqs.send_message(QueueUrl=self.url, MessageBody=body, MessageAttributes=values)

    def waiting(self) -> int:
        """Return the number of messages. Asserts that nobody hides one."""
        attributes = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["All"])["Attributes"]
        assert attributes[HIDDEN] == "0"
        return int(attributes["ApproximateNumberOfMessages"])


def envelope() -> dict[str, Any]:
    """Return an event as the bus passes it to targets."""
    detail = samples.sample("batch.completed", created_at=1_795_000_000, event_id=samples.new_id("evt_"))
    return {"id": "1", "detail-type": "batch.completed", "source": "openai.com", "detail": detail, "name": "Zoë ☃"}
