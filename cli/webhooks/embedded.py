"""An embedded AWS, moto's server on the loopback address, and stacks in it."""

import fcntl
import json
import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import requests
from moto.server import ThreadedMotoServer

from webhooks import stacks
from webhooks.instances import Function
from webhooks.stacks import REGION

# What Lambda adds to every function's environment.
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "embedded",
    "AWS_SECRET_ACCESS_KEY": "embedded",
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "LANG": "en_US.UTF-8",
    "TZ": "UTC",
}


LOOPBACK = "127.0.0.1"
ACCOUNT = "123456789012"  # moto's


def docker_bridge() -> list[str]:
    """The address of this machine on Docker's bridge, where `host.docker.internal` leads on Linux, if it has one.

    Docker Desktop leads containers to the loopback address instead.
    """
    siocgifaddr = 0x8915  # netdevice(7): the address is in bytes 20 to 23 of the answer
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, siocgifaddr, struct.pack("256s", b"docker0"))
        except OSError:
            return []
    return [socket.inet_ntoa(answer[20:24])]


class Stack(NamedTuple):
    """A deployed stack."""

    functions: dict[str, Function]
    secrets: dict[str, str]  # logical id -> ARN
    routes: list[tuple[str, str]]
    outputs: dict[str, str]


class Aws:
    """The embedded AWS, on all of `hosts`. It begins empty, and a process has one at a time: moto keeps one state."""

    def __init__(self, port: int = 0, hosts: Sequence[str] = (LOOPBACK,)) -> None:
        self._servers = [ThreadedMotoServer(host, port, verbose=False) for host in hosts]
        for server in self._servers:
            server.start()
        self.url = f"http://{hosts[0]}:{self._servers[0].get_host_and_port()[1]}"
        requests.post(f"{self.url}/moto-api/reset", timeout=10).raise_for_status()

    def close(self) -> None:
        for server in self._servers:
            server.stop()

    def client(self, service: Any) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=ENVIRONMENT["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        )

    def deploy(self, path: Path, stack_name: str, **parameters: str) -> Stack:
        """Make what the SAM template at `path` declares."""
        plan = stacks.plan(path)
        secrets = {
            name: self.client("secretsmanager").create_secret(Name=name, SecretString=value)["ARN"]
            for name, value in plan.secrets.items()
        }
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName=stack_name,
            TemplateBody=json.dumps(plan.template),
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value} for name, value in (parameters | secrets).items()
            ],
        )
        described = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
        inboxes = {
            name: self.client("sqs").get_queue_url(QueueName=name)["QueueUrl"]
            for name in plan.template["Resources"]
            if name.endswith("Inbox")
        }
        functions = {
            name: Function(
                name=name,
                code=Path("/", properties["Code"]["S3Key"]),
                handler=properties["Handler"],
                timeout=int(outputs[f"{name}/Timeout"]),
                memory=int(outputs[f"{name}/MemorySize"]),
                environment={key: outputs[f"{name}/{key}"] for key in properties["Environment"]["Variables"]}
                | {"AWS_LAMBDA_FUNCTION_NAME": name, "AWS_ENDPOINT_URL": self.url, **ENVIRONMENT},
                inbox=inboxes.get(f"{name}Inbox"),
            )
            for name, properties in plan.functions.items()
        }
        return Stack(functions=functions, secrets=secrets, routes=plan.routes, outputs=outputs)
