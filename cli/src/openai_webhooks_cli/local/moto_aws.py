"""The embedded AWS: moto's server on the loopback address, and the stacks deployed in it."""

import json
import re
import secrets
import socket
import struct
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError
from moto import backends
from moto.core.config import default_user_config
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import BaseWSGIServer
from werkzeug.test import Client

from openai_webhooks_cli.local import sam_template, wsgi_server
from openai_webhooks_cli.local.event_bridge import EventBridge
from openai_webhooks_cli.local.function_pool import Function
from openai_webhooks_cli.local.guard import embedded_aws
from openai_webhooks_cli.local.sam_template import REGION, TemplateError
from openai_webhooks_cli.local.wsgi_server import LOOPBACK

LAMBDA_ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "embedded",
    "AWS_SECRET_ACCESS_KEY": "embedded",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "LANG": "en_US.UTF-8",
    "TZ": ":UTC",
}
"""Variables that Lambda adds to the environment of every function."""


def docker_bridge_addresses() -> list[str]:
    """Return the address of Docker's bridge on this machine, if there is one.

    On Linux, `host.docker.internal` resolves to this address in a container. Docker Desktop forwards it to the
    loopback address instead.
    """
    try:
        import fcntl  # noqa: PLC0415  # Windows does not have it
    except ImportError:
        return []
    siocgifaddr = 0x8915  # netdevice(7): bytes 20 to 23 of the answer are the address
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, siocgifaddr, struct.pack("256s", b"docker0"))
        except OSError:
            return []
    return [socket.inet_ntoa(answer[20:24])]


# moto lists its own directory at each request, which takes longer than most of its answers.
_MODULES = list(backends.list_of_moto_modules())
backends.list_of_moto_modules = lambda: iter(_MODULES)
# moto calls functions in Docker containers by default.
default_user_config["lambda"] = {"use_docker": False}


class DeployedStack(NamedTuple):
    """A stack in the embedded AWS."""

    functions: dict[str, Function]
    secrets: dict[str, str]  # logical id -> ARN
    routes: list[tuple[str, str]]
    workflows: dict[str, str]
    """The definitions of the state machines, by name."""
    parameters: set[str]
    """The names that the template declares."""
    outputs: dict[str, str]
    omitted: list[str]
    """What does not run here, for people."""


class MotoAws:
    """The embedded AWS, at the same port of each host. It starts empty.

    moto keeps its state in global variables, so a process can have only one embedded AWS at a time.
    """

    def __init__(self, port: int = 0, hosts: Sequence[str] = (LOOPBACK,)) -> None:
        moto = DomainDispatcherApplication(create_backend_app)
        Client(moto).post("/moto-api/reset")
        self.event_bridge = EventBridge(moto)
        self.access_key = secrets.token_hex(8)
        """For clients in containers."""
        self._servers: list[BaseWSGIServer] = []
        for host in hosts:
            # moto's own ThreadedMotoServer waits forever if the server cannot start.
            listener = socket.create_server((host, port))
            refuse = embedded_aws(self.access_key)
            server = wsgi_server.start(self.event_bridge, listener, MotoRequestHandler, refuse=refuse)
            self._servers.append(server)
            port = self._servers[-1].port
        self.url = f"http://{hosts[0]}:{port}"

    def close(self) -> None:
        for server in self._servers:
            wsgi_server.stop(server)

    def client(self, service: Any) -> Any:
        """Return a boto3 client."""
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=LAMBDA_ENVIRONMENT["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=LAMBDA_ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        )

    def create_function(self, function: Function, aliases: Collection[str]) -> None:
        """Let Lambda's API answer questions about a function and its queues for failures."""
        client, name = self.client("lambda"), function.name
        client.create_function(
            FunctionName=name,
            Runtime="python3.13",
            Role=self._role,
            Handler=function.handler,
            Timeout=function.timeout,
            MemorySize=function.memory,
            Code={"ZipFile": b"PK\5\6" + bytes(18)},  # an empty archive
            DeadLetterConfig={"TargetArn": function.dead_letters} if function.dead_letters else {},
        )
        destination = {"OnFailure": {"Destination": function.on_failure}} if function.on_failure else {}
        for alias in aliases:
            client.create_alias(FunctionName=name, Name=alias, FunctionVersion="$LATEST")
        client.put_function_event_invoke_config(
            FunctionName=name, MaximumRetryAttempts=function.retries, DestinationConfig=destination
        )

    @cached_property
    def _role(self) -> str:
        trust = {"Principal": {"Service": "lambda.amazonaws.com"}}
        role = self.client("iam").create_role(RoleName="functions", AssumeRolePolicyDocument=json.dumps(trust))
        return str(role["Role"]["Arn"])

    def send_message(self, queue_arn: str, body: str, attributes: Mapping[str, str]) -> None:
        """Put a message into the SQS queue with an ARN."""
        values = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        sqs = self.client("sqs")
        url = sqs.get_queue_url(QueueName=queue_arn.rpartition(":")[2])["QueueUrl"]
        sqs.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=values)

    def deploy(
        self, path: Path, stack_name: str, *, prefix: str = "", parameters: Mapping[str, str] | None = None
    ) -> DeployedStack:
        """Deploy the SAM template at `path`. `prefix` starts the names of its tables, queues, functions and workflows.

        Parameters that the template does not declare are ignored. Raises TemplateError.
        """
        plan = sam_template.plan(path, prefix)
        own = {name: value for name, value in (parameters or {}).items() if name in plan.parameters}
        plan.check(own)
        secrets = {
            name: self.client("secretsmanager").create_secret(Name=f"{prefix}{name}", SecretString=value)["ARN"]
            for name, value in plan.secrets.items()
        }
        cloudformation = self.client("cloudformation")
        try:
            cloudformation.create_stack(
                StackName=stack_name,
                TemplateBody=json.dumps(plan.template),
                Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in (own | secrets).items()],
            )
        except (ClientError, ResponseParserError) as error:
            # moto answers some errors in JSON, where boto3 expects XML.
            reason = re.search(r'"message": "(.*)"', str(error), re.DOTALL)
            raise TemplateError(f"The embedded AWS cannot deploy {path}: {reason[1] if reason else error}") from None
        stack = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}
        functions = {name: self._function(name, plan, outputs, prefix) for name in plan.functions}
        workflows = {f"{prefix}{name}": _definition(name, outputs) for name in plan.workflows}
        return DeployedStack(functions, secrets, plan.routes, workflows, set(plan.parameters), outputs, plan.omitted)

    def _function(self, name: str, plan: sam_template.Plan, outputs: dict[str, str], prefix: str) -> Function:
        properties, full_name = plan.functions[name], f"{prefix}{name}"
        return Function(
            name=full_name,
            code=Path("/", properties["Code"]["S3Key"]),
            handler=properties["Handler"],
            timeout=int(outputs[f"{name}/Timeout"]),
            memory=int(outputs[f"{name}/MemorySize"]),
            environment=LAMBDA_ENVIRONMENT
            | {
                variable: outputs[f"{name}/{variable}"]
                for variable in sam_template.variables(properties)
                if f"{name}/{variable}" in outputs  # the template can have AWS::NoValue
            }
            | {"AWS_ENDPOINT_URL": self.url},
            retries=int(outputs.get(f"{name}//retries", 2)),
            on_failure=outputs.get(f"{name}//on_failure", ""),
            dead_letters=outputs.get(f"{name}//dead_letters", ""),
            runtime=properties["Runtime"],
            log_group=outputs[f"{name}//log_group"],
            layers=plan.layers[name],
            requirements=plan.requirements[name],
        )


def _definition(name: str, outputs: dict[str, str]) -> str:
    """Return the definition of a state machine, with the values of its placeholders."""
    values = {output.partition("/")[2]: value for output, value in outputs.items() if output.startswith(f"{name}/")}
    definition = values.pop("DefinitionString")
    for placeholder, value in values.items():
        definition = definition.replace(f"${{{placeholder}}}", value)
    return definition
