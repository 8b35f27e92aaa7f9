"""A real `sam deploy` on this machine: ministack, SAM CLI that deploys to it, and clients for what it deployed."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import boto3
import pytest
import requests
from botocore.exceptions import ClientError

from openai_webhooks_cli import apigw_event
from openai_webhooks_cli.local.sam_template import REGION
from tests.support.background import program, shown, wait_until
from tests.support.paths import ROOT

ACCOUNT: Final = "123456789012"
"""ministack takes an access key of 12 digits as the root user of that account. Unsigned requests use it too."""
PYTHON: Final = ROOT / ".venv-ministack/bin/python"
CHECKOUT: Final = (
    "template.yaml",
    "samconfig.toml",
    "src",
    "examples",
    "pyproject.toml",
    "PKG-INFO",
    "docs",  # the package's README
    "LICENSE",
)
"""What `sam build` of the templates reads."""
PREFIX: Final = "openai-webhooks-ministack-"
"""Of the temporary folder of each run. The folder contains a locked file while the run, or its ministack, is alive."""


@dataclass(frozen=True)
class Ministack:
    """A running ministack."""

    url: str
    output: Path
    """What it printed: its warnings, and dead letters that it could not send."""

    @cache  # noqa: B019  # to create a client takes longer than most of its calls; there is one instance
    def client(self, service: Any) -> Any:
        return boto3.client(
            service, REGION, endpoint_url=self.url, aws_access_key_id=ACCOUNT, aws_secret_access_key="test"
        )

    def run(self, *command: str, cwd: Path, stack_name: str = "", seconds: int = 120) -> str:
        """Run a command that deploys or deletes a stack, such as `sam` or `make`. Return its output.

        If the command fails or hangs, the test fails with the command's output and the stack's events.
        """
        hidden = ("ARGS", "AWS", "ENV", "MAKE", "MFLAGS", "PYTHON", "SAM_CLI")  # `make e2e` passes its own options on
        environment = {name: value for name, value in os.environ.items() if not name.startswith(hidden)} | {
            "PATH": f"{ROOT}/.venv-sam/bin:{os.environ['PATH']}",
            "SAM_CLI_TELEMETRY": "0",
            "SAM_CLI_POLL_DELAY": "0.5",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": ACCOUNT,
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        with program(command, cwd=cwd, env=environment, **pipes) as process:
            try:
                output = process.communicate(timeout=seconds)[0].decode()
            except subprocess.TimeoutExpired:
                output = f"It did not end within {seconds} s."
        if process.returncode:
            events = "\n".join(self._failures(stack_name)) or "no failed event"
            pytest.fail(
                f"{shown(command)} ended with {process.returncode}:\n{output}\nEvents of {stack_name}:\n{events}",
                pytrace=False,
            )
        return output

    def deploy(self, stack_name: str, project: Path, **parameters: str) -> "Deployed":
        """Run `sam deploy` in a project that is built. `parameters` are those that differ from the template's."""
        # SAM CLI accepts an empty value only in quotes.
        overrides = [name + "=" + (value or '""') for name, value in parameters.items()]
        options = ["--parameter-overrides", *overrides] if overrides else []
        self.run("sam", "deploy", "--stack-name", stack_name, *options, cwd=project, stack_name=stack_name)
        return Deployed(self, stack_name)

    def delete(self, stack_name: str, project: Path) -> None:
        """Run `sam delete`."""
        self.run("sam", "delete", "--stack-name", stack_name, "--no-prompts", cwd=project, stack_name=stack_name)

    def received(self, queue_url: str) -> list[dict[str, Any]]:
        """Take all messages of a queue."""
        sqs, found = self.client("sqs"), []
        while messages := sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
        return found

    def _failures(self, stack_name: str) -> list[str]:
        try:
            events = self.client("cloudformation").describe_stack_events(StackName=stack_name)["StackEvents"]
        except ClientError as error:
            return [str(error)]
        return [
            f"{event['LogicalResourceId']} {event['ResourceStatus']}: {event.get('ResourceStatusReason', '')}"
            for event in reversed(events)
            if "FAILED" in event["ResourceStatus"] or "ROLLBACK" in event["ResourceStatus"]
        ]

    def existing(self) -> set[tuple[str, str, str]]:
        """Return the type, the owner and the name of everything in the account. Only parts have an owner.

        It asks the services, not CloudFormation. ministack has neither CodeDeploy nor Contributor Insights.
        """
        found: set[tuple[str, str, str]] = set()

        def add(kind: str, items: list[Any], key: str = "", owner: str = "") -> list[str]:
            names = [item[key] if key else item for item in items]
            found.update((kind, owner, name) for name in names)
            return names

        services = (
            "apigatewayv2",
            "cloudwatch",
            "dynamodb",
            "events",
            "iam",
            "lambda",
            "logs",
            "route53",
            "sns",
            "sqs",
        )
        apis, cloudwatch, dynamodb, events, iam, lambda_, logs, route53, sns, sqs = map(self.client, services)
        add("CloudWatch::Alarm", cloudwatch.describe_alarms()["MetricAlarms"], "AlarmName")
        add("CloudWatch::Dashboard", cloudwatch.list_dashboards()["DashboardEntries"], "DashboardName")
        add("DynamoDB::Table", dynamodb.list_tables()["TableNames"])
        add("Events::Archive", events.list_archives()["Archives"], "ArchiveName")
        add("IAM::ManagedPolicy", iam.list_policies(Scope="Local")["Policies"], "Arn")
        add("IAM::Role", iam.list_roles()["Roles"], "RoleName")
        add("Logs::LogGroup", logs.describe_log_groups()["logGroups"], "logGroupName")
        add("Logs::MetricFilter", logs.describe_metric_filters()["metricFilters"], "filterName")
        add("SNS::Topic", sns.list_topics()["Topics"], "TopicArn")
        add("SNS::Subscription", sns.list_subscriptions()["Subscriptions"], "SubscriptionArn")
        add("Logs::ResourcePolicy", logs.describe_resource_policies()["resourcePolicies"], "policyName")
        add("SecretsManager::Secret", self.client("secretsmanager").list_secrets()["SecretList"], "ARN")
        for api in add("ApiGatewayV2::Api", apis.get_apis()["Items"], "ApiId"):
            add("ApiGatewayV2::Stage", apis.get_stages(ApiId=api)["Items"], "StageName", owner=api)
        for domain in add("ApiGatewayV2::DomainName", apis.get_domain_names()["Items"], "DomainName"):
            add("ApiGatewayV2::ApiMapping", apis.get_api_mappings(DomainName=domain)["Items"], "ApiMappingId")
        for bus in add("Events::EventBus", events.list_event_buses()["EventBuses"], "Name"):
            add("Events::Rule", events.list_rules(EventBusName=bus)["Rules"], "Arn")
            policy = json.loads(events.describe_event_bus(Name=bus).get("Policy") or '{"Statement": []}')
            add("Events::EventBusPolicy", policy["Statement"], "Sid", owner=bus)
        for zone in add("Route53::HostedZone", route53.list_hosted_zones()["HostedZones"], "Id"):
            records = route53.list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
            add("Route53::RecordSet", records, "Name", owner=zone)
        for queue in add("SQS::Queue", sqs.list_queues().get("QueueUrls", [])):
            attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["Policy"]).get("Attributes")
            add("SQS::QueuePolicy", [queue] if attributes else [])
        for function in add("Lambda::Function", lambda_.list_functions()["Functions"], "FunctionName"):
            name = {"FunctionName": function}
            configs = lambda_.list_function_event_invoke_configs(**name)["FunctionEventInvokeConfigs"]
            add("Lambda::EventInvokeConfig", configs, "FunctionArn")
            versions = lambda_.list_versions_by_function(**name)["Versions"]
            add("Lambda::Version", [item for item in versions if item["Version"] != "$LATEST"], "FunctionArn")
            aliases = add("Lambda::Alias", lambda_.list_aliases(**name)["Aliases"], "AliasArn")
            for invoked in [function, *aliases]:
                with suppress(lambda_.exceptions.ResourceNotFoundException):
                    policy = json.loads(lambda_.get_policy(FunctionName=invoked)["Policy"])
                    add("Lambda::Permission", policy["Statement"], "Sid", owner=function)
        return found


@dataclass(frozen=True)
class Deployed:
    """A stack in ministack."""

    aws: Ministack
    name: str

    @property
    def outputs(self) -> dict[str, str]:
        [stack] = self.aws.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"]
        return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}

    @property
    def exports(self) -> dict[str, str]:
        exports = self.aws.client("cloudformation").list_exports()["Exports"]
        return {e["Name"]: e["Value"] for e in exports if e["ExportingStackId"].split("/")[1] == self.name}

    @property
    def resources(self) -> dict[str, tuple[str, str]]:
        """The type and the physical id of each of the stack's resources, by logical id."""
        cloudformation = self.aws.client("cloudformation")
        pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=self.name)
        return {
            resource["LogicalResourceId"]: (
                resource["ResourceType"].removeprefix("AWS::"),
                resource["PhysicalResourceId"],
            )
            for page in pages
            for resource in page["StackResourceSummaries"]
        }

    def id_of(self, logical_id: str) -> str:
        """Return the physical id of a resource: its name, ARN or id."""
        return self.resources[logical_id][1]

    @cached_property
    def url(self) -> str:
        """The URL of a receiver. The URL in its outputs leads to AWS, so this one has the API's id in the path."""
        return f"{self.aws.url}/_aws/execute-api/{self.id_of('Api')}/$default{apigw_event.PATH}"

    def store(self, secret: str) -> None:
        """Store the signing secret of a receiver, under the id in the command of its outputs."""
        command = self.outputs["StoreSecretCommand"].split()
        secret_id = command[command.index("--secret-id") + 1]
        self.aws.client("secretsmanager").put_secret_value(SecretId=secret_id, SecretString=secret)

    def log(self, logical_id: str) -> list[str]:
        """Return all lines of a log group."""
        pages = self.aws.client("logs").get_paginator("filter_log_events").paginate(logGroupName=self.id_of(logical_id))
        return [event["message"] for page in pages for event in page["events"]]

    def json_log(self, logical_id: str) -> list[dict[str, Any]]:
        """Return what functions wrote to a log group, without Lambda's own lines."""
        return [json.loads(line) for line in self.log(logical_id) if line.startswith("{")]

    def start_new_instances(self, function: str) -> None:
        """Publish a version of the function, so that its alias gets new instances."""
        lambda_, name = self.aws.client("lambda"), self.id_of(function)
        lambda_.update_function_configuration(FunctionName=name, Description=f"Version of {time.time_ns()}")
        version = lambda_.publish_version(FunctionName=name)["Version"]
        lambda_.update_alias(FunctionName=name, Name="live", FunctionVersion=version)


def built_checkout(aws: Ministack, folder: Path) -> Path:
    """Make `folder` a checkout in which the user has run plain `sam build` for the receiver and each example."""
    for name in CHECKOUT:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".aws-sam"))
        else:
            shutil.copy(ROOT / name, folder)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        projects = [folder, *(template.parent for template in folder.glob("examples/*/template.yaml"))]
        list(threads.map(lambda project: aws.run("sam", "build", cwd=project, seconds=300), projects))
    return folder


@contextmanager
def ministack() -> Iterator[Ministack]:
    """Run ministack until the end of the `with` statement, on a free port of the loopback address.

    Without pytest, which may have been killed, it ends too. What then remains of its files is deleted here, by the
    next run.
    """
    delete_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    output, files = folder / "output.log", folder / "files"
    files.mkdir()
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    # Functions get ministack's environment, so it contains little else.
    environment = {
        "PATH": os.environ["PATH"],
        "LANG": "en_US.UTF-8",
        "TMPDIR": str(files),
        "AUTH": "true",  # IAM decides about the calls of functions
        "GATEWAY_PORT": str(port),  # where functions call AWS
        "IOT_MTLS_ENABLED": "0",  # it would listen on all interfaces
        "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.1",  # Lambda waits for 1 and 2 minutes
        "LOG_LEVEL": "WARNING",
        "MINISTACK_ACCOUNT_ID": ACCOUNT,
    }
    # With -P, `import ministack` does not find this module.
    server = str(ROOT / "evidence/deployment/ministack_server.py")
    command = [str(PYTHON), "-P", server, str(listener.fileno())]
    url = f"http://127.0.0.1:{port}"
    try:
        with listener, (folder / "lock").open("w") as lock, output.open("w") as log:
            fcntl.flock(lock, fcntl.LOCK_EX)
            inherited = {"pass_fds": [listener.fileno(), lock.fileno()], "stdout": log, "stderr": log}
            with program(command, cwd=folder, env=environment, stdin=subprocess.PIPE, **inherited) as process:
                listener.close()
                wait_until(lambda: _answers(url) or process.poll() is not None, "ministack", seconds=30)
                if process.poll() is not None:
                    pytest.fail(f"ministack ended with {process.returncode}:\n{output.read_text()}", pytrace=False)
                yield Ministack(url, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/_ministack/health", timeout=1).ok
    except (requests.ConnectionError, requests.Timeout):
        return False


def delete_leftovers() -> None:
    """Delete the folders of runs that were killed."""
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/lock"):
        with suppress(FileNotFoundError), lock.open() as file:  # another run may delete it at the same time
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # another run uses the folder
            shutil.rmtree(lock.parent, ignore_errors=True)
