"""A SAM template in plain CloudFormation, by SAM's own transform, and in a form that moto can deploy.

moto runs no Lambda functions here, has no API Gateway, and creates no secrets through CloudFormation. `plan` therefore
changes the template:

- Functions and other resources that moto lacks leave the template. References to them become parameters.
- A rule with a function as its target sends its events to a queue instead, the function's inbox.
- Values that CloudFormation resolves for a function, such as its environment, become outputs.

`python -m openai_webhooks_cli.local.sam_template template.yaml` prints the plain CloudFormation.
"""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse
from yaml import YAMLError

# Its warnings are about metrics and feature flags of AWS's own service.
logging.getLogger("samtranslator").setLevel(logging.ERROR)

CREATED_TYPES = (
    "AWS::DynamoDB::Table",
    "AWS::Events::EventBus",
    "AWS::Events::Rule",
    "AWS::Logs::LogGroup",
    "AWS::S3::Bucket",
    "AWS::SNS::Topic",
    "AWS::SQS::Queue",
    "AWS::SSM::Parameter",
)
"""The types of resources that the embedded AWS creates."""

REPLACED_TYPES = (
    "AWS::ApiGatewayV2::",
    "AWS::CloudWatch::",
    "AWS::CodeDeploy::",
    "AWS::Events::Archive",
    "AWS::Events::EventBusPolicy",
    "AWS::IAM::",
    "AWS::Lambda::",
    "AWS::Logs::ResourcePolicy",
    "AWS::Route53::",
    "AWS::S3::BucketPolicy",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::SecretsManager::Secret",
    "AWS::StepFunctions::StateMachine",
)
"""How the types start that this machine replaces, or that change nothing here, such as permissions."""

REGION = "us-east-1"
"""The region of the embedded AWS. samconfig.toml repeats it for `sam local`."""

Resources = dict[str, dict[str, Any]]


class Plan(NamedTuple):
    """What a template declares."""

    template: dict[str, Any]
    """Plain CloudFormation. An output `FUNCTION/NAME` is an environment variable, `Timeout` or `MemorySize`."""
    functions: dict[str, dict[str, Any]]
    """The properties of the functions, by logical id."""
    secrets: dict[str, str]
    """The first values of the secrets, by logical id. The template has a parameter for the ARN of each."""
    routes: list[tuple[str, str]]
    """Methods and paths of the HTTP APIs."""
    workflows: list[str]
    """The state machines. Outputs are `WORKFLOW/DefinitionString`, and `WORKFLOW/NAME` for each placeholder in it."""
    parameters: set[str]
    """The names of the parameters that it declares."""
    omitted: list[str]
    """What does not run here, for people: functions of other runtimes, and resources that the embedded AWS lacks."""


class TemplateError(Exception):
    """A template cannot be read or translated. The text says why."""


def plan(path: Path, prefix: str = "") -> Plan:
    """Read the SAM template at `path`. Its `CodeUri` values are folders next to it.

    `prefix` starts the names of its tables and queues. Raises TemplateError.
    """
    template = translate(path)
    resources: Resources = template["Resources"]
    omitted = list(_omitted(resources))
    created = {name: resource for name, resource in resources.items() if resource["Type"] in CREATED_TYPES}
    functions = {
        name: properties
        for name, properties in _of_type(resources, "AWS::Lambda::Function")
        if not _obstacle(properties)
    }
    created |= _add_inboxes(resources, functions)
    machines = dict(_of_type(resources, "AWS::StepFunctions::StateMachine"))
    template.setdefault("Outputs", {}).update(_settings(functions) | _definitions(machines))
    _name_physically(created, prefix)

    absent = resources.keys() - created.keys()
    template["Resources"] = created
    declared = set(template.setdefault("Parameters", {}))
    template["Parameters"].update({name: {"Type": "String", "Default": name} for name in absent})
    buses = {name for name, _ in _of_type(resources, "AWS::Events::EventBus")}
    return Plan(
        template=_for_moto(template, absent=absent, buses=buses),
        functions=functions,
        secrets={
            name: str(secret.get("SecretString", "generated"))
            for name, secret in _of_type(resources, "AWS::SecretsManager::Secret")
        },
        routes=[
            (method.upper(), route)
            for _, api in _of_type(resources, "AWS::ApiGatewayV2::Api")
            for route, methods in api["Body"]["paths"].items()
            for method in methods
        ],
        workflows=list(machines),
        parameters=declared,
        omitted=omitted,
    )


def translate(path: Path, **parameters: str) -> dict[str, Any]:
    """Return the SAM template at `path` in plain CloudFormation. Its `CodeUri` values are folders next to it.

    `parameters` become the new defaults. SAM also evaluates them where it needs their values. Raises TemplateError.
    """
    try:
        source = yaml_parse(path.read_text(encoding="utf-8"))
        resources = source["Resources"].values()
    except OSError as error:
        raise TemplateError(f"Cannot read {path}: {error.strerror}") from None
    except (ValueError, YAMLError, TypeError, KeyError, AttributeError) as error:
        raise TemplateError(f"{path} is not a SAM template ({type(error).__name__}): {error}") from None
    for name, value in parameters.items():
        source["Parameters"][name]["Default"] = value
    # SAM translates packaged templates, whose code is in S3. Here the S3 key is the path of the folder.
    for properties in [
        source.get("Globals", {}).get("Function", {}),
        *(resource.get("Properties", {}) for resource in resources),
    ]:
        for uri in ("CodeUri", "ContentUri", "DefinitionUri"):
            if isinstance(properties.get(uri), str) and not properties[uri].startswith("s3://"):
                properties[uri] = f"s3://local/{path.resolve().parent / properties[uri]}"
    # With a map of managed policies, even an empty one, the translator does not ask IAM for it.
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
    try:
        translated: dict[str, Any] = translator.translate(source, parameter_values=parameters)
    except InvalidDocumentException as error:
        causes = "; ".join(cause.message for cause in error.causes)
        raise TemplateError(f"SAM cannot translate {path}: {causes}") from None
    return translated


def _omitted(resources: Resources) -> Iterator[str]:
    for name, properties in _of_type(resources, "AWS::Lambda::Function"):
        if obstacle := _obstacle(properties):
            yield f"{name} ({obstacle})"
    for name, resource in resources.items():
        if not resource["Type"].startswith((*CREATED_TYPES, *REPLACED_TYPES)):
            yield f"{name} ({resource['Type']})"


def _obstacle(properties: dict[str, Any]) -> str:
    """Return why a function cannot run here, or an empty text."""
    if properties.get("PackageType") == "Image":
        return "a container image"
    if "S3Key" not in properties["Code"]:
        return "inline code"
    runtime = str(properties.get("Runtime", ""))
    return "" if runtime.startswith("python") else f"the runtime {runtime or 'is missing'}"


def _add_inboxes(resources: Resources, functions: dict[str, Any]) -> Resources:
    """Return a queue for each function that a rule invokes, and make the queue the rule's target."""
    inboxes: Resources = {}
    for _, rule in _of_type(resources, "AWS::Events::Rule"):
        for target in rule["Targets"]:
            # moto fails on placeholders without quotes, which some targets need in AWS.
            target.pop("InputTransformer", None)
            for function in functions.keys() & set(_references(target["Arn"])):
                inboxes[f"{function}Inbox"] = {"Type": "AWS::SQS::Queue"}
                target["Arn"] = {"Fn::GetAtt": [f"{function}Inbox", "Arn"]}
    return inboxes


def _settings(functions: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return outputs with each function's time-out, memory and environment."""
    return {
        f"{name}/{setting}": {"Value": value if isinstance(value, dict) else str(value)}
        for name, properties in functions.items()
        for setting, value in {
            # Lambda's defaults.
            "Timeout": properties.get("Timeout", 3),
            "MemorySize": properties.get("MemorySize", 128),
            **variables(properties),
        }.items()
    }


def _definitions(machines: Resources) -> dict[str, dict[str, Any]]:
    """Return outputs with the definition of each state machine, and the values of its placeholders.

    Raises TemplateError.
    """
    return {
        f"{name}/{output}": {"Value": value if isinstance(value, dict) else str(value)}
        for name, properties in machines.items()
        for output, value in {
            **properties.get("DefinitionSubstitutions", {}),
            "DefinitionString": properties.get("DefinitionString") or _file(properties["DefinitionS3Location"]["Key"]),
        }.items()
    }


def _file(key: str) -> str:
    """Return the text of a local file, by the S3 key that `translate` gives it. Raises TemplateError."""
    path = Path("/", key)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise TemplateError(f"Cannot read {path}: {error.strerror}") from None


def variables(function: dict[str, Any]) -> dict[str, Any]:
    """Return the environment variables in the properties of a function."""
    declared: dict[str, Any] = function.get("Environment", {}).get("Variables", {})
    return declared


def _name_physically(resources: Resources, prefix: str) -> None:
    """Name tables and queues after their logical ids, so that people find them in the embedded AWS."""
    properties = {"AWS::DynamoDB::Table": "TableName", "AWS::SQS::Queue": "QueueName"}
    for name, resource in resources.items():
        if resource["Type"] in properties:
            resource["Properties"] = {properties[resource["Type"]]: prefix + name} | resource.get("Properties", {})


def _of_type(resources: Resources, resource_type: str) -> Iterator[tuple[str, dict[str, Any]]]:
    found = ((name, resource) for name, resource in resources.items() if resource["Type"] == resource_type)
    return ((name, resource.get("Properties", {})) for name, resource in found)


def _references(node: Any) -> Iterator[str]:
    """Yield the logical ids in `Ref` and `Fn::GetAtt` under a node."""
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "Ref":
                yield value
            elif key == "Fn::GetAtt":
                yield value[0]
            else:
                yield from _references(value)


def _for_moto(node: Any, *, absent: set[str], buses: set[str]) -> Any:
    """Return the node without references that moto cannot resolve: to absent resources, and to buses by `Ref`."""
    if isinstance(node, list):
        return [_for_moto(item, absent=absent, buses=buses) for item in node]
    if not isinstance(node, dict):
        return node
    if node.keys() == {"Fn::GetAtt"} and node["Fn::GetAtt"][0] in absent:
        # The parameter that replaces the resource. Its default is the logical id.
        return node["Fn::GetAtt"][0]
    if node.keys() == {"Ref"} and node["Ref"] in buses:
        return {"Fn::GetAtt": [node["Ref"], "Name"]}
    return {key: _for_moto(value, absent=absent, buses=buses) for key, value in node.items()}


if __name__ == "__main__":
    print(json.dumps(translate(Path(sys.argv[1])), indent=2))
