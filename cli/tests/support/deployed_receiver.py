"""Both stacks in moto, and the commands for a deployed stack, run against them in this process.

Both are deployed once in a process, because that takes seconds. Each test starts with the state after the deployment.
"""

import copy
import json
import logging
import time
from collections.abc import Iterator
from typing import Any, Final

import pytest
from moto.awslambda_simple.models import lambda_simple_backends
from moto.cloudwatch.models import cloudwatch_backends
from moto.events.models import events_backends
from moto.iam.models import iam_backends
from moto.logs.models import logs_backends
from moto.secretsmanager.models import secretsmanager_backends
from moto.sqs.models import sqs_backends
from typer.testing import CliRunner, Result

from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.stack import Session, Stack, find_stack
from openai_webhooks_cli.dev_defaults import RECEIVER, SUBSCRIBER
from openai_webhooks_cli.local.moto_aws import LAMBDA_ENVIRONMENT, MotoAws
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION
from openai_webhooks_cli.main import app

STACK: Final = "openai-webhooks"
ENVIRONMENT: Final = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/dev/null",
    "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
    "COLUMNS": "200",
    "TERM": "dumb",
}
"""What a user's shell has, with credentials that moto accepts."""


class DeployedReceiver:
    """The receiver and the command's subscribers, as CloudFormation deployed them, and their AWS."""

    def __init__(self, aws: MotoAws) -> None:
        self.aws = aws
        self.receiver = aws.deploy(RECEIVER, STACK)
        self.subscriber = aws.deploy(SUBSCRIBER, f"{STACK}-subscriber")
        for function in self.subscriber.functions.values():
            aws.create_function(function, [])
        self.bus = self.receiver.outputs["EventBusName"]
        self.secret_arn = self.receiver.outputs["SigningSecretArn"]
        self._saved = [
            (owner, name, _copied(name, getattr(owner, name)))
            for owner, names in self._owners()
            for name in names.split()
        ]

    @property
    def is_deployed(self) -> bool:
        """Whether moto still has the stacks. Each new MotoAws resets the state that all share."""
        return self.bus in events_backends[ACCOUNT][REGION].event_buses and self._saved[0][0] is self._event_bus

    def reset(self) -> None:
        """Bring everything that tests change back into the state after the deployment."""
        for owner, name, value in self._saved:
            setattr(owner, name, _copied(name, value))

    @property
    def _event_bus(self) -> Any:
        return events_backends[ACCOUNT][REGION].event_buses[self.bus]

    @property
    def _secret(self) -> Any:
        return secretsmanager_backends[ACCOUNT][REGION].secrets[self.secret_arn]

    def _owners(self) -> Iterator[tuple[Any, str]]:
        """Yield the objects of moto whose attributes tests change, with the names of these attributes."""
        yield self._event_bus, "rules"
        yield from ((rule, "state targets") for rule in self._event_bus.rules.values())
        yield events_backends[ACCOUNT][REGION], "archives replays"
        yield sqs_backends[ACCOUNT][REGION], "queues"
        queues = sqs_backends[ACCOUNT][REGION].queues.values()
        yield from ((queue, "_messages _pending_messages deleted_messages") for queue in queues)
        yield cloudwatch_backends[ACCOUNT][REGION], "alarms metric_data"
        yield logs_backends[ACCOUNT][REGION], "groups"
        yield from ((group, "streams") for group in logs_backends[ACCOUNT][REGION].groups.values())
        yield self._secret, "versions default_version_id deleted_date"
        functions = lambda_simple_backends[ACCOUNT][REGION]
        yield functions._lambdas, "_functions _arns _aliases"
        for function in self.subscriber.functions.values():
            yield functions.get_function(function.name).policy, "statements"
        yield iam_backends[ACCOUNT]["aws"], "roles"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of the user's shell."""
        return {**ENVIRONMENT, "AWS_ENDPOINT_URL": self.aws.url}

    @property
    def stack(self) -> Stack:
        """The stack as the commands see it."""
        return find_stack(Session(region=REGION, endpoint_url=self.aws.url), STACK)

    def client(self, service: Any) -> Any:
        return self.aws.client(service)

    def run(self, *arguments: str, input: str | None = None, **environment: str | None) -> Result:  # noqa: A002  # CliRunner's name
        """Run `openai-webhooks` with these arguments. A variable that is None is not set."""
        return CliRunner().invoke(app, arguments, input=input, env={**self.environment, **environment})

    def publish(self, event_type: str = "batch.completed", **detail: Any) -> dict[str, Any]:
        """Put an event on the bus, as the receiver does. `detail` replaces fields. Return the event."""
        event = samples.sample(event_type, created_at=int(time.time()), event_id=samples.new_id("evt_")) | detail
        entry = {
            "EventBusName": self.bus,
            "Source": "openai.com",
            "DetailType": event_type,
            "Detail": json.dumps(event),
        }
        [result] = self.client("events").put_events(Entries=[entry])["Entries"]
        assert "ErrorCode" not in result, result
        return event

    def rule(self, part: str) -> dict[str, Any]:
        """Return the only rule on the bus with `part` in its name, as EventBridge describes it."""
        rules = self.client("events").list_rules(EventBusName=self.bus)["Rules"]
        [found] = [rule for rule in rules if part in rule["Name"]]
        return found  # type: ignore[no-any-return]

    def leftovers(self) -> list[str]:
        """Return the rules and queues of `listen` that exist."""
        rules = self.client("events").list_rules(EventBusName=self.bus)["Rules"]
        queues = self.client("sqs").list_queues().get("QueueUrls", [])
        names = [rule["Name"] for rule in rules] + [url.rpartition("/")[2] for url in queues]
        return [name for name in names if "-listen-" in name]

    def secret(self, stage: str = "AWSCURRENT") -> str:
        """Return the stored signing secret."""
        value: str = self.client("secretsmanager").get_secret_value(SecretId=self.secret_arn, VersionStage=stage)[
            "SecretString"
        ]
        return value


def _copied(name: str, value: Any) -> Any:
    # Versions of secrets are dictionaries, which moto changes.
    return copy.deepcopy(value) if name == "versions" else copy.copy(value)


def deploy_receiver() -> DeployedReceiver:
    """Deploy both stacks in an empty moto, whose server runs until the process ends."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    aws = MotoAws()
    with pytest.MonkeyPatch.context() as patch:
        # moto builds its stacks in this process, with boto3's own configuration.
        for name, value in {**LAMBDA_ENVIRONMENT, **ENVIRONMENT}.items():
            patch.setenv(name, value)
        patch.delenv("AWS_PROFILE", raising=False)
        return DeployedReceiver(aws)
