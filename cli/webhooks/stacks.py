"""A SAM template as CloudFormation gets it, by SAM's own transform, and as an embedded AWS can make it.

moto has no Lambda that runs here, no API Gateway, and no secrets in CloudFormation. So functions, and whatever
else moto can't make, leave the template, and references to them become parameters. A rule that would invoke a
function puts its events into a queue, the function's inbox. What CloudFormation would resolve for a function,
its environment above all, becomes an output.

`python -m webhooks.stacks template.yaml` prints the first.
"""

import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

# It warns of metrics and feature flags that concern the service it was made for.
logging.getLogger("samtranslator").setLevel(logging.ERROR)

MADE = ("AWS::DynamoDB::Table", "AWS::Events::EventBus", "AWS::Events::Rule", "AWS::Logs::LogGroup", "AWS::SQS::Queue")
"""The types that are made in the embedded AWS."""

REGION = "us-east-1"

type Resources = dict[str, dict[str, Any]]


class Plan(NamedTuple):
    """What a template declares."""

    template: dict[str, Any]
    """Plain CloudFormation. Its outputs `FUNCTION/NAME` are an environment variable, `Timeout` or `MemorySize`."""
    functions: dict[str, dict[str, Any]]
    """The functions' properties, by logical id."""
    secrets: dict[str, str]
    """The secrets' first values, by logical id. Each is a parameter that wants its ARN."""
    routes: list[tuple[str, str]]
    """Methods and paths of the HTTP APIs."""


def plan(path: Path) -> Plan:
    """Read the SAM template at `path`, whose `CodeUri` are folders beside it."""
    template = translate(path)
    resources: Resources = template["Resources"]
    made = {name: resource for name, resource in resources.items() if resource["Type"] in MADE}
    functions = dict(_of_type(resources, "AWS::Lambda::Function"))
    outputs = template.setdefault("Outputs", {})

    for _, rule in _of_type(resources, "AWS::Events::Rule"):
        for target in rule["Targets"]:
            # moto fails on placeholders without quotes, which EventBridge demands for some targets.
            target.pop("InputTransformer", None)
            for function in functions.keys() & set(_references(target["Arn"])):
                made[f"{function}Inbox"] = {"Type": "AWS::SQS::Queue"}
                target["Arn"] = {"Fn::GetAtt": [f"{function}Inbox", "Arn"]}
    for name, properties in functions.items():
        resolved = {key: properties[key] for key in ("Timeout", "MemorySize")}
        for variable, value in (resolved | properties["Environment"]["Variables"]).items():
            outputs[f"{name}/{variable}"] = {"Value": value if isinstance(value, dict) else str(value)}
    # Names that are the same at every run, for whoever looks into the embedded AWS.
    for name, resource in made.items():
        if key := {"AWS::DynamoDB::Table": "TableName", "AWS::SQS::Queue": "QueueName"}.get(resource["Type"]):
            resource["Properties"] = {key: name} | resource.get("Properties", {})

    absent = resources.keys() - made.keys()
    template["Resources"] = made
    template.setdefault("Parameters", {}).update({name: {"Type": "String", "Default": name} for name in absent})
    return Plan(
        template=_for_moto(template, absent=absent, buses={n for n, _ in _of_type(resources, "AWS::Events::EventBus")}),
        functions=functions,
        secrets={n: secret["SecretString"] for n, secret in _of_type(resources, "AWS::SecretsManager::Secret")},
        routes=[
            (method.upper(), route)
            for _, api in _of_type(resources, "AWS::ApiGatewayV2::Api")
            for route, methods in api["Body"]["paths"].items()
            for method in methods
        ],
    )


def translate(path: Path, **parameters: str) -> dict[str, Any]:
    """The SAM template at `path`, whose `CodeUri` are folders beside it, in plain CloudFormation.

    Parameters other than the defaults matter where SAM itself looks at them, and become the new defaults.
    """
    source = yaml_parse(path.read_text())
    for name, value in parameters.items():
        source["Parameters"][name]["Default"] = value
    # SAM translates packaged templates, whose code is in S3. Here the key is the folder itself.
    for properties in [
        source.get("Globals", {}).get("Function", {}),
        *(function.get("Properties", {}) for function in source["Resources"].values()),
    ]:
        if "CodeUri" in properties:
            properties["CodeUri"] = f"s3://local/{path.resolve().parent / properties['CodeUri']}"
    # Given a map of managed policies, be it an empty one, the translator doesn't ask IAM for it.
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
    translated: dict[str, Any] = translator.translate(source, parameter_values=parameters)
    return translated


def _of_type(resources: Resources, of: str) -> Iterator[tuple[str, dict[str, Any]]]:
    return ((name, resource["Properties"]) for name, resource in resources.items() if resource["Type"] == of)


def _references(node: Any) -> Iterator[str]:
    """The logical ids in `Ref` and `Fn::GetAtt` under a node."""
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
    """The node, with what moto can't resolve put in another way."""
    if isinstance(node, list):
        return [_for_moto(item, absent=absent, buses=buses) for item in node]
    if not isinstance(node, dict):
        return node
    if node.keys() == {"Fn::GetAtt"} and node["Fn::GetAtt"][0] in absent:
        return node["Fn::GetAtt"][0]
    if node.keys() == {"Ref"} and node["Ref"] in buses:
        return {"Fn::GetAtt": [node["Ref"], "Name"]}
    return {key: _for_moto(value, absent=absent, buses=buses) for key, value in node.items()}


if __name__ == "__main__":
    print(json.dumps(translate(Path(sys.argv[1])), indent=2))
