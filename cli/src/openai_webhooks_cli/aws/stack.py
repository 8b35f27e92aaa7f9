"""A deployed receiver stack: found by its name, with clients for the services that it uses."""

import getpass
import re
import threading
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import boto3
import requests
from botocore.config import Config
from botocore.exceptions import ClientError

from openai_webhooks_cli.shell.errors import CannotRun, is_denied
from openai_webhooks_cli.shell.next_command import make

EVENT_SOURCE = "openai.com"
"""The default of the template's parameter EventSource."""

_CONFIG = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": 4})


class Session:
    """The user's credentials and region, and clients made with them.

    If `endpoint_url` is that of the embedded AWS of `openai-webhooks dev`, it needs neither credentials nor a region.
    """

    def __init__(
        self, *, profile: str | None = None, region: str | None = None, endpoint_url: str | None = None
    ) -> None:
        self._profile = profile
        self._region = region
        self._lock = threading.Lock()
        self.endpoint_url = endpoint_url
        self.is_embedded = False
        """Whether this session has the credentials of the embedded AWS of `openai-webhooks dev`."""
        self.renew()

    def renew(self) -> None:
        """Read the credentials again, for instance after `aws sso login`."""
        self._clients: dict[str, Any] = {}
        self._session = boto3.Session(profile_name=self._profile, region_name=self._region)
        is_incomplete = self._session.get_credentials() is None or not self.region
        if self.is_embedded or (is_incomplete and self._is_dev()):
            self._session = boto3.Session("embedded", "embedded", region_name=self._region or "us-east-1")

    @property
    def region(self) -> str:
        return self._session.region_name or ""

    @property
    def credentials(self) -> Any:
        """botocore's credentials, or None."""
        return self._session.get_credentials()

    def client(self, service: Any) -> Any:
        """Return a boto3 client. Clients can be used by several threads."""
        with self._lock:  # boto3's sessions cannot be used by several threads
            if service not in self._clients:
                self._clients[service] = self._session.client(service, endpoint_url=self.endpoint_url, config=_CONFIG)
            return self._clients[service]

    def _is_dev(self) -> bool:
        if (self.endpoint_url or "").startswith(("http://127.0.0.1:", "http://localhost:")):
            with suppress(requests.RequestException):
                self.is_embedded = "embedded AWS" in requests.get(str(self.endpoint_url), timeout=1).text
        return self.is_embedded


class Resource(NamedTuple):
    """A resource of the stack."""

    type: str
    physical_id: str


class Stack:
    """A receiver stack, and what CloudFormation says about it."""

    def __init__(self, session: Session, description: dict[str, Any], resources: dict[str, Resource]) -> None:
        self.session = session
        self.name: str = description["StackName"]
        self.status: str = description["StackStatus"]
        self.outputs: dict[str, str] = {o["OutputKey"]: o["OutputValue"] for o in description.get("Outputs", [])}
        self.parameters: dict[str, str] = {
            p["ParameterKey"]: p.get("ParameterValue", "") for p in description.get("Parameters", [])
        }
        self.resources = resources
        """By logical id."""
        self.bus_arn = self.outputs["EventBusArn"]
        _, self.partition, _, self.region, self.account, _ = self.bus_arn.split(":", 5)
        self.bus = self.outputs["EventBusName"]
        self.event_source = self.parameters.get("EventSource", EVENT_SOURCE)
        self.clock_skew = _clock_skew(description)
        """Seconds that AWS's clock is ahead of this machine's."""

    @property
    def identity(self) -> str:
        """Where the command works, for the user to check."""
        place = f"{self.session.endpoint_url} · " if self.session.endpoint_url else ""
        return f"{place}account {self.account} · {self.region} · stack {self.name} · bus {self.bus}"

    def client(self, service: Any) -> Any:
        """Return a boto3 client."""
        return self.session.client(service)

    def now(self) -> float:
        """Return AWS's time, in Unix seconds."""
        return time.time() + self.clock_skew

    def physical_id(self, logical_id: str) -> str | None:
        """Return the name, ARN or id of a resource. None if the stack does not have it."""
        resource = self.resources.get(logical_id)
        return resource.physical_id if resource else None

    def rule_arn(self, name: str) -> str:
        """Return the ARN of a rule on the stack's bus."""
        path = name if self.bus == "default" else f"{self.bus}/{name}"
        return f"arn:{self.partition}:events:{self.region}:{self.account}:rule/{path}"


def find_stack(session: Session, name: str) -> Stack:
    """Find a stack. Raises CannotRun if there is no such stack."""
    try:
        return read_stack(session, name)
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        raise CannotRun(_no_stack(session, name)) from None


def read_stack(session: Session, name: str) -> Stack:
    """Ask CloudFormation about a stack. Raises CannotRun if it is not a receiver's stack."""
    cloudformation = session.client("cloudformation")
    answer = cloudformation.describe_stacks(StackName=name)
    description = {**answer["Stacks"][0], "ResponseMetadata": answer["ResponseMetadata"]}
    if "EventBusArn" not in {output["OutputKey"] for output in description.get("Outputs", [])}:
        raise CannotRun(
            f"The stack {name!r} ({description['StackStatus']}) has no output EventBusArn, so it is not a receiver "
            f"that is deployed. Pass the receiver's stack with --stack. {_others(session)}"
        )
    resources = {
        resource["LogicalResourceId"]: Resource(resource["ResourceType"], resource.get("PhysicalResourceId", ""))
        for page in cloudformation.get_paginator("list_stack_resources").paginate(StackName=name)
        for resource in page["StackResourceSummaries"]
    }
    return Stack(session, description, resources)


def user_name() -> str:
    """Return the user's name on this machine, with letters, digits and underscores only."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError, ImportError):
        name = "unknown"
    return re.sub(r"\W", "_", name, flags=re.ASCII)[:16] or "unknown"


def _no_stack(session: Session, name: str) -> str:
    account = session.client("sts").get_caller_identity()["Account"]
    return (
        f"No stack {name!r} in {session.region} (account {account}). {_others(session)} Pass --stack or --region. "
        f"To deploy this stack: {make('deploy')}"
    )


def receivers(session: Session) -> dict[str, str]:
    """Return the receiver stacks of the account and the region that the user may see, by their URLs."""
    found = {}
    try:
        for page in session.client("cloudformation").get_paginator("describe_stacks").paginate():
            for stack in page["Stacks"]:
                outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
                if {"WebhookUrl", "EventBusArn"} <= outputs.keys():
                    found[outputs["WebhookUrl"]] = stack["StackName"]
    except ClientError as error:
        if not is_denied(error):
            raise
    return found


def _others(session: Session) -> str:
    found = sorted(receivers(session).values())
    return f"Stacks with this template here: {', '.join(found)}." if found else "No stack here has this template."


def _clock_skew(description: dict[str, Any]) -> float:
    date = description.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if not date:
        return 0.0
    # The header has whole seconds, so half a second is the best guess of the rest.
    return parsedate_to_datetime(date).timestamp() + 0.5 - time.time()
