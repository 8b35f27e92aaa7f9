"""`openai-webhooks iam`: the IAM policies that the commands need, filled in with the names of a stack."""

import json
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError

from openai_webhooks_cli.aws.dead_letters import read_queues
from openai_webhooks_cli.aws.rules import is_function, is_standard_queue, read_rules
from openai_webhooks_cli.aws.stack import Session, Stack
from openai_webhooks_cli.commands.iam_policies import COMMANDS, POLICIES, resources, start_of_arn, statements
from openai_webhooks_cli.commands.open_stack import open_stack
from openai_webhooks_cli.shell import options
from openai_webhooks_cli.shell.command import command
from openai_webhooks_cli.shell.errors import CannotRun, explain
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.printable import printable

app = typer.Typer()


@command(app, "iam")
def iam(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[read | listen | write | COMMAND]",
            help="A policy, or a command such as `dead-letters redrive`. By default, all policies.",
        ),
    ] = None,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Print the IAM policies that the commands need: read, listen (and replay), and write in addition to read.

    With a command, or a group such as `endpoint`, it prints the policies that
    the command needs. It names the functions and queues of the current rules.
    Everything except the policy goes to stderr.
    """
    output = Output(as_json=as_json)
    policies = _policies(" ".join(words or []))
    try:
        found = open_stack(output, stack, profile, region, endpoint_url)
    except (CannotRun, BotoCoreError, ClientError) as error:
        reason = str(error) if isinstance(error, CannotRun) else explain(error)
        found = _assumed_stack(Session(profile=profile, region=region, endpoint_url=endpoint_url), stack)
        output.warning(f"{reason}\nThe stack was not read, so the policy has assumed names. Check every ARN.")
    arns = resources(found) | _resources_of_rules(found, output)
    policy = {"Version": "2012-10-17", "Statement": statements(policies, arns)}
    output.item(json.dumps(policy, indent=2), **policy)


def _policies(name: str) -> list[str]:
    """Return the policies with a name, or of a command, of a group, or all. Raises CannotRun."""
    if name in POLICIES:
        return [name]
    needed = [
        policies for known, policies in COMMANDS.items() if not name or known == name or known.startswith(f"{name} ")
    ]
    if not needed:
        known = ", ".join([*POLICIES, *COMMANDS])
        raise CannotRun(f"There is no policy or command {printable(name)}. Pass one of: {known}")
    return [policy for policy in POLICIES if any(policy in policies for policies in needed)]


def _resources_of_rules(stack: Stack, output: Output) -> dict[str, list[str]]:
    """Return the functions and the queues of the rules, or all of the account if the rules cannot be read."""
    try:
        rules = read_rules(stack)
        queues = [queue.arn for queue in read_queues(stack, rules)]
    except (BotoCoreError, ClientError) as error:
        output.warning(f"The rules were not read, so the policy has all functions and queues. {explain(error)}")
        any_queue = [f"{start_of_arn(stack, 'sqs')}:*"]
        return {
            "functions": [f"{start_of_arn(stack, 'lambda')}:function:*"],
            "dead-letter queues": any_queue,
            "target queues": any_queue,
        }
    targets = sorted({target.arn for rule in rules for target in rule.targets})
    return {
        "functions": [arn for arn in targets if is_function(arn)],
        "dead-letter queues": queues,
        "target queues": [arn for arn in targets if is_standard_queue(arn)],
    }


def _assumed_stack(session: Session, name: str) -> Stack:
    """Return a stack with the names that the template gives by default."""
    try:
        _, partition, _, _, account, _ = session.client("sts").get_caller_identity()["Arn"].split(":", 5)
    except (BotoCoreError, ClientError):
        partition, account = "aws", "ACCOUNT"
    place = f"{session.region or 'REGION'}:{account}"
    outputs = {
        "EventBusName": name,
        "EventBusArn": f"arn:{partition}:events:{place}:event-bus/{name}",
        "SigningSecretArn": f"arn:{partition}:secretsmanager:{place}:secret:SigningSecret-*",
    }
    description = {
        "StackName": name,
        "StackStatus": "",
        "Outputs": [{"OutputKey": key, "OutputValue": value} for key, value in outputs.items()],
    }
    return Stack(session, description, {})
