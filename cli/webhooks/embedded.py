"""An embedded AWS, moto's server on the loopback address, and stacks in it."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import boto3
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


class Stack(NamedTuple):
    """A deployed stack."""

    functions: dict[str, Function]
    secrets: dict[str, str]  # logical id -> ARN
    routes: list[tuple[str, str]]
    outputs: dict[str, str]


class Aws:
    """The embedded AWS. Several can run side by side, but they share moto's state."""

    def __init__(self, port: int = 0) -> None:
        self._server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
        self._server.start()
        # By name: moto routes S3, which archives of events may use, by host.
        self.url = f"http://localhost:{self._server.get_host_and_port()[1]}"

    def close(self) -> None:
        self._server.stop()

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
