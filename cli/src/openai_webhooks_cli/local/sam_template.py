"""A SAM template in plain CloudFormation, by SAM's own transform, and in a form that moto can deploy.

moto runs no Lambda functions here, has no API Gateway, and creates no secrets through CloudFormation. `plan` therefore
changes the template:

- Functions and other resources that moto lacks leave the template. References to them become parameters, or ARNs.
- Values that CloudFormation resolves for a function, such as its environment, become outputs.

`python -m openai_webhooks_cli.local.sam_template template.yaml` prints the plain CloudFormation.
"""

import json
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import boto3
from samtranslator.model.exceptions import InvalidDocumentException
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse
from yaml import YAMLError

from openai_webhooks_cli.event_pattern import EventPattern, InvalidPattern

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
    "AWS::Lambda::Alias",
    "AWS::Lambda::EventInvokeConfig",
    "AWS::Lambda::Function",
    "AWS::Lambda::LayerVersion",
    "AWS::Lambda::Permission",
    "AWS::Lambda::Version",
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
ACCOUNT = "123456789012"
"""moto's account."""

Resources = dict[str, dict[str, Any]]


class Plan(NamedTuple):
    """What a template declares."""

    template: dict[str, Any]
    """Plain CloudFormation. An output `FUNCTION/NAME` is an environment variable, or one of `_settings`."""
    functions: dict[str, dict[str, Any]]
    """The properties of the functions, by logical id."""
    layers: dict[str, list[Path]]
    """What is in `/opt/python` in Lambda, the last layer first, by function."""
    requirements: dict[str, list[Path] | None]
    """The requirements files of each function and its layers. None if the packages come from elsewhere too."""
    secrets: dict[str, str]
    """The first values of the secrets, by logical id. The template has a parameter for the ARN of each."""
    routes: list[tuple[str, str]]
    """Methods and paths of the HTTP APIs."""
    workflows: list[str]
    """The state machines. Outputs are `WORKFLOW/DefinitionString`, and `WORKFLOW/NAME` for each placeholder in it."""
    parameters: dict[str, dict[str, Any]]
    """The declarations of its parameters, by name."""
    omitted: list[str]
    """What does not run here, for people: functions of other runtimes, and resources that the embedded AWS lacks."""

    def check(self, parameters: Mapping[str, str]) -> None:
        """Raise TemplateError if a declaration refuses a value, as CloudFormation would."""
        for name, value in parameters.items():
            declared = self.parameters[name]
            if not _accepts(declared, value):
                rules = (f"{rule} {declared[rule]}" for rule in _CONSTRAINTS if rule in declared)
                reason = declared.get("ConstraintDescription") or f"The template declares: {', '.join(rules)}."
                raise TemplateError(f"{name} cannot be {value!r}. {reason}")


class TemplateError(Exception):
    """A template cannot be read or translated. The text says why."""


def plan(path: Path, prefix: str = "") -> Plan:
    """Read the SAM template at `path`. Its `CodeUri` values are folders next to it.

    `prefix` starts the names of its tables, queues and functions. Raises TemplateError.
    """
    template = translate(path)
    resources: Resources = template["Resources"]
    _require_declared(path, template)
    _require_valid_patterns(path, resources)
    loops = filter(_is_loop, _read(path)["Resources"])
    omitted = [*loops, *_omitted(resources), *_leave_unresolved(template), *_on_default_bus(resources)]
    created = {name: resource for name, resource in resources.items() if resource["Type"] in CREATED_TYPES}
    functions = {
        name: properties
        for name, properties in _of_type(resources, "AWS::Lambda::Function")
        if not _obstacle(properties)
    }
    _require_code(path, functions)
    layers = {name: list(_layers(resources, properties)) for name, properties in functions.items()}
    omitted += [f"{layer} of {name}" for name, found in layers.items() for layer, folder in found if not folder]
    machines = dict(_of_type(resources, "AWS::StepFunctions::StateMachine"))
    outputs = _settings(functions) | _failures(resources, functions) | _definitions(machines)
    template.setdefault("Outputs", {}).update(outputs)
    _name_physically(created, prefix)

    absent = {name: resource for name, resource in resources.items() if name not in created}
    arns = {name: _arn(name, resource["Type"], prefix) for name, resource in absent.items()}
    template["Resources"] = created
    declared = dict(template.setdefault("Parameters", {}))
    names = {name: name for name in absent} | {name: f"{prefix}{name}" for name in functions}
    names |= {name: arns[name] for name in machines}
    names |= {
        name: f"{arns[next(_references(alias['FunctionName']))]}:{alias['Name']}"
        for name, alias in _of_type(resources, "AWS::Lambda::Alias")
    }
    template["Parameters"].update({name: {"Type": "String", "Default": value} for name, value in names.items()})
    buses = {name for name, _ in _of_type(resources, "AWS::Events::EventBus")}
    return Plan(
        template=_for_moto(template, arns=arns, buses=buses),
        functions=functions,
        layers={name: [folder for _, folder in found if folder] for name, found in layers.items()},
        requirements={name: _requirements(resources[name], found) for name, found in layers.items()},
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
    source = _read(path)
    for name in filter(_is_loop, list(source["Resources"])):
        del source["Resources"][name]
    resources = [{"Properties": source["Globals"].get("Function", {})}, *source["Resources"].values()]
    for name, value in parameters.items():
        source["Parameters"][name]["Default"] = value
    # SAM translates packaged templates, whose code is in S3. Here the S3 key is the path of the folder.
    for resource in resources:
        properties = resource.get("Properties", {})
        bucket = "built" if "python" in str(resource.get("Metadata", {}).get("BuildMethod")) else "local"
        for uri in ("CodeUri", "ContentUri", "DefinitionUri"):
            if isinstance(properties.get(uri), str) and not properties[uri].startswith("s3://"):
                properties[uri] = f"s3://{bucket}/{path.resolve().parent / properties[uri]}"
        for code in ("Code", "Content"):
            if isinstance(properties.get(code), str) and str(resource.get("Type")).startswith("AWS::Lambda::"):
                properties[code] = {"S3Bucket": bucket, "S3Key": str(path.resolve().parent / properties[code])}
    # With a map of managed policies, even an empty one, the translator does not ask IAM for it.
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
    try:
        translated: dict[str, Any] = translator.translate(source, parameter_values=parameters)
    except InvalidDocumentException as error:
        causes = "; ".join(cause.message for cause in error.causes)
        raise TemplateError(f"SAM cannot translate {path}: {causes}") from None
    return translated


def _read(path: Path) -> dict[str, Any]:
    """Return a SAM template without empty sections. Raises TemplateError."""
    try:
        source = _filled(yaml_parse(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise TemplateError(f"Cannot read {path}: {error.strerror}") from None
    except (ValueError, YAMLError) as error:
        raise TemplateError(f"{path} is not a SAM template ({type(error).__name__}): {error}") from None
    if not isinstance(source.get("Resources"), dict):
        raise TemplateError(f"{path} is not a SAM template: it has no Resources.")
    source["Globals"] = _filled(source.get("Globals"))
    for name, resource in source["Resources"].items():
        source["Resources"][name] = resource if _is_loop(name) else _filled(resource)
        if not _is_loop(name) and "Type" not in source["Resources"][name]:
            raise TemplateError(f"{path}: the resource {name} has no Type.")
    return source


def _filled(section: Any) -> dict[str, Any]:
    return {key: value for key, value in section.items() if value is not None} if isinstance(section, dict) else {}


def _is_loop(name: str) -> bool:
    """Return whether a name under `Resources` is a loop of AWS::LanguageExtensions."""
    return name.startswith("Fn::ForEach::")


_CONSTRAINTS = ("Type", "AllowedValues", "AllowedPattern", "MinValue", "MaxValue", "MinLength", "MaxLength")


def _accepts(declared: Mapping[str, Any], value: str) -> bool:
    """Return whether the declaration of a parameter accepts a value. CloudFormation checks each item of a list."""
    items = value.split(",") if "List" in declared["Type"] else [value]
    allowed = [str(item) for item in declared.get("AllowedValues", items)]
    if not all(item in allowed for item in items):
        return False
    if "Number" in declared["Type"]:
        low, high = float(declared.get("MinValue", "-inf")), float(declared.get("MaxValue", "inf"))
        try:
            return all(low <= float(item) <= high for item in items)
        except ValueError:
            return False
    shortest, longest = int(declared.get("MinLength", 0)), float(declared.get("MaxLength", "inf"))
    pattern = declared.get("AllowedPattern", r"[\s\S]*")
    return all(shortest <= len(item) <= longest and re.fullmatch(pattern, item) for item in items)


def _require_declared(path: Path, template: dict[str, Any]) -> None:
    known = template["Resources"].keys() | template.get("Parameters", {}).keys()
    used = set(_references([template["Resources"], template.get("Outputs")]))
    if unknown := sorted(name for name in used - known if not name.startswith("AWS::")):
        raise TemplateError(f"{path} refers to {', '.join(unknown)}, which it does not declare.")


def _require_code(path: Path, functions: dict[str, dict[str, Any]]) -> None:
    for name, properties in functions.items():
        if not (folder := Path("/", properties["Code"]["S3Key"])).is_dir():
            raise TemplateError(f"{path}: the CodeUri of {name} is not a folder: {folder}")


def _layers(resources: Resources, properties: dict[str, Any]) -> Iterator[tuple[str, Path | None]]:
    """Yield a function's layers, the last first: a name for people, and what is in `/opt/python` in Lambda."""
    layers = properties.get("Layers", [])
    for layer in reversed(layers if isinstance(layers, list) else [layers]):
        name = str(layer if isinstance(layer, str) else next(iter(layer.values())))
        declared = resources.get(name, {}).get("Properties", {})
        content = declared.get("Content", {})
        # `sam build` puts the layer's code in the folder `python`, or takes the layer as it is.
        folder = Path("/", content.get("S3Key", ""), "" if content.get("S3Bucket") == "built" else "python")
        yield f"the layer {declared.get('LayerName', name)}", folder if content and folder.is_dir() else None


def _requirements(function: dict[str, Any], layers: list[tuple[str, Path | None]]) -> list[Path] | None:
    code = Path("/", function["Properties"]["Code"]["S3Key"])
    has_own_build = {"BuildMethod", "SkipBuild"} & function.get("Metadata", {}).keys()
    if has_own_build or any(folder is None for _, folder in layers) or any(code.glob("*.dist-info")):
        return None
    folders = [code, *(parent for _, folder in layers if folder for parent in (folder, folder.parent))]
    files = [file for folder in folders if (file := folder / "requirements.txt").is_file()]
    # `sam build --manifest` can take a file above the code.
    return files if files or not any((folder / "requirements.txt").is_file() for folder in code.parents) else None


def _require_valid_patterns(path: Path, resources: Resources) -> None:
    for name, rule in _of_type(resources, "AWS::Events::Rule"):
        try:
            if "EventPattern" in rule and not set(_references(rule["EventPattern"])):
                EventPattern(json.dumps(rule["EventPattern"]))
        except InvalidPattern as error:
            raise TemplateError(f"{path}: EventBridge refuses the rule {name}: {error}.") from None


def _leave_unresolved(template: dict[str, Any]) -> Iterator[str]:
    """Turn parameters from SSM into texts. Yield them, and the resources with dynamic references, for people."""
    for name, declaration in template.get("Parameters", {}).items():
        if declaration["Type"].startswith("AWS::SSM::Parameter::Value"):
            declaration["Type"] = "CommaDelimitedList" if "List" in declaration["Type"] else "String"
            yield f"the value of {name} in SSM (set it by --parameter {name}=VALUE)"
    for name, resource in template["Resources"].items():
        if "{{resolve:" in json.dumps(resource):
            yield f"the {{{{resolve:…}}}} of {name}"


def _omitted(resources: Resources) -> Iterator[str]:
    for name, properties in _of_type(resources, "AWS::Lambda::Function"):
        if obstacle := _obstacle(properties):
            yield f"{name} ({obstacle})"
    for name, resource in resources.items():
        if not resource["Type"].startswith((*CREATED_TYPES, *REPLACED_TYPES)):
            yield f"{name} ({resource['Type']})"
        elif "ScheduleExpression" in resource.get("Properties", {}):
            yield f"{name} (a schedule)"


def _obstacle(properties: dict[str, Any]) -> str:
    """Return why a function cannot run here, or an empty text."""
    if properties.get("PackageType") == "Image":
        return "a container image"
    if "S3Key" not in properties["Code"]:
        return "inline code"
    runtime = str(properties.get("Runtime", ""))
    return "" if runtime.startswith("python") else f"the runtime {runtime or 'is missing'}"


def _arn(name: str, resource_type: str, prefix: str) -> str:
    """Return the ARN of a resource that the embedded AWS does not create."""
    service = resource_type.split("::")[1].lower()
    match service:
        case "lambda":
            return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{prefix}{name}"
        case "stepfunctions":
            return f"arn:aws:states:{REGION}:{ACCOUNT}:stateMachine:{prefix}{name}"
    return f"arn:aws:{service}:{REGION}:{ACCOUNT}:{prefix}{name}"


def _settings(functions: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return outputs with each function's time-out, memory, log group and environment."""
    return {
        f"{name}/{setting}": {"Value": value if isinstance(value, dict) else str(value)}
        for name, properties in functions.items()
        for setting, value in {
            # Lambda's defaults.
            "Timeout": properties.get("Timeout", 3),
            "MemorySize": properties.get("MemorySize", 128),
            "/log_group": properties.get("LoggingConfig", {}).get("LogGroup", ""),
            **variables(properties),
        }.items()
    }


def _failures(resources: Resources, functions: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return outputs with how often an asynchronous invocation is retried, and with the queues for failures."""
    found = {
        f"{name}//dead_letters": properties["DeadLetterConfig"]["TargetArn"]
        for name, properties in functions.items()
        if "DeadLetterConfig" in properties
    }
    for _, properties in _of_type(resources, "AWS::Lambda::EventInvokeConfig"):
        name = next(_references(properties["FunctionName"]))
        if "MaximumRetryAttempts" in properties:
            found[f"{name}//retries"] = str(properties["MaximumRetryAttempts"])
        if destination := properties.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination"):
            found[f"{name}//on_failure"] = destination
    return {name: {"Value": value} for name, value in found.items()}


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


def _on_default_bus(resources: Resources) -> Iterator[str]:
    """Yield the rules for events of OpenAI that name no bus. The default bus does not get these events."""
    for name, rule in _of_type(resources, "AWS::Events::Rule"):
        pattern = rule.get("EventPattern", "source")  # a schedule has no pattern
        if "EventBusName" not in rule and ("openai.com" in str(pattern) or "source" not in pattern):
            yield f"{name} (without EventBusName, it is a rule of the default bus)"


def variables(function: dict[str, Any]) -> dict[str, Any]:
    """Return the environment variables in the properties of a function."""
    declared: dict[str, Any] = function.get("Environment", {}).get("Variables", {})
    return declared


def _name_physically(resources: Resources, prefix: str) -> None:
    """Name tables and queues after their logical ids, so that people find them in the embedded AWS."""
    properties = {"AWS::DynamoDB::Table": "TableName", "AWS::SQS::Queue": "QueueName"}
    for name, resource in resources.items():
        if resource["Type"] in properties:
            declared = resource.get("Properties", {})
            suffix = ".fifo" if declared.get("FifoQueue") else ""
            resource["Properties"] = {properties[resource["Type"]]: f"{prefix}{name}{suffix}"} | declared


def _of_type(resources: Resources, resource_type: str) -> Iterator[tuple[str, dict[str, Any]]]:
    found = ((name, resource) for name, resource in resources.items() if resource["Type"] == resource_type)
    return ((name, resource.get("Properties", {})) for name, resource in found)


def _references(node: Any) -> Iterator[str]:
    """Yield the names in `Ref`, `Fn::GetAtt` and `Fn::Sub` under a node."""
    if isinstance(node, list):
        for item in node:
            yield from _references(item)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key == "Ref":
                yield value
            elif key == "Fn::GetAtt":
                yield value.partition(".")[0] if isinstance(value, str) else value[0]
            elif key == "Fn::Sub":
                text, values = (value, {}) if isinstance(value, str) else value
                yield from {name for name, _ in _SUB.findall(text) if name not in values}
                yield from _references(values)
            else:
                yield from _references(value)


# The name and the attribute of a placeholder, such as ${Table.Arn}. ${!Literal} is none.
_SUB = re.compile(r"\$\{([\w:]+)(\.[\w.]+)?\}")


def _for_moto(node: Any, *, arns: Mapping[str, str], buses: set[str]) -> Any:
    """Return the node without references that moto cannot resolve: to absent resources, and to buses by `Ref`.

    `arns` are those of the absent resources.
    """
    if isinstance(node, list):
        return [_for_moto(item, arns=arns, buses=buses) for item in node]
    if not isinstance(node, dict):
        return node
    if node.keys() == {"Fn::GetAtt"} and (name := next(_references(node))) in arns:
        attribute = (
            node["Fn::GetAtt"].partition(".")[2] if isinstance(node["Fn::GetAtt"], str) else node["Fn::GetAtt"][1]
        )
        return arns[name] if attribute == "Arn" else {"Ref": name}  # the parameter that replaces the resource
    if node.keys() == {"Fn::Sub"}:
        text, values = (node["Fn::Sub"], {}) if isinstance(node["Fn::Sub"], str) else node["Fn::Sub"]
        text = _SUB.sub(lambda match: _replaced(match, arns), text)
        return {"Fn::Sub": [text, _for_moto(values, arns=arns, buses=buses)] if values else text}
    if node.keys() == {"Ref"} and node["Ref"] in buses:
        return {"Fn::GetAtt": [node["Ref"], "Name"]}
    return {key: _for_moto(value, arns=arns, buses=buses) for key, value in node.items()}


def _replaced(placeholder: re.Match[str], arns: Mapping[str, str]) -> str:
    name, attribute = placeholder[1], placeholder[2]
    if name not in arns or not attribute:
        return placeholder[0]
    return arns[name] if attribute == ".Arn" else f"${{{name}}}"


if __name__ == "__main__":
    print(json.dumps(translate(Path(sys.argv[1])), indent=2))
