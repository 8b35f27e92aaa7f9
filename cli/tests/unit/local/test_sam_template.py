"""Plans for the embedded AWS."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from openai_webhooks_cli.local import sam_template

TEMPLATE = """
Transform: AWS::Serverless-2016-10-31
Parameters:
  Seconds: {Type: Number, Default: 7}
Globals:
  Function: {CodeUri: code/, Runtime: python3.13, Timeout: !Ref Seconds, MemorySize: 128}
Resources:
  Bus: {Type: AWS::Events::EventBus, Properties: {Name: bus}}
  Secret: {Type: AWS::SecretsManager::Secret, Properties: {SecretString: first}}
  Api: {Type: AWS::Serverless::HttpApi}
  Function:
    Type: AWS::Serverless::Function
    Properties:
      Handler: module.handler
      LoggingConfig: {LogGroup: !Ref Bus}
      Environment: {Variables: {BUS: !Ref Bus, SECRET: !Ref Secret, SELF: literal}}
      Events:
        Request: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: POST, Path: /here}}
        Rule:
          Type: EventBridgeRule
          Properties: {EventBusName: !Ref Bus, Pattern: {detail-type: [a]}}
"""


PlanOf = Callable[..., sam_template.Plan]


@pytest.fixture
def plan_of(tmp_path: Path) -> PlanOf:
    (tmp_path / "code").mkdir()

    def plan_of(template: str, prefix: str = "") -> sam_template.Plan:
        (tmp_path / "template.yaml").write_text(template)
        return sam_template.plan(tmp_path / "template.yaml", prefix)

    return plan_of


def test_plan_runs_functions_of_template(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of(TEMPLATE)
    resources = plan.template["Resources"]
    outputs = {name: output["Value"] for name, output in plan.template["Outputs"].items()}

    assert {resource["Type"] for resource in resources.values()} <= set(sam_template.CREATED_TYPES)
    assert plan.functions["Function"]["Handler"] == "module.handler"
    assert "/" + plan.functions["Function"]["Code"]["S3Key"] == f"{tmp_path}/code"
    assert outputs["Function/SELF"] == "literal"
    assert outputs["Function/SECRET"] == {"Ref": "Secret"}
    assert outputs["Function//log_group"] == outputs["Function/BUS"]
    assert outputs["Function/Timeout"] == {"Ref": "Seconds"}
    assert plan.template["Parameters"]["Secret"] == {"Type": "String", "Default": "Secret"}
    assert plan.secrets == {"Secret": "first"}
    assert plan.routes == [("POST", "/here")]
    [rule] = (resource["Properties"] for resource in resources.values() if resource["Type"] == "AWS::Events::Rule")
    assert rule["EventPattern"] == {"detail-type": ["a"]}
    assert plan.omitted == []


TARGETS: Final = """
Transform: AWS::Serverless-2016-10-31
Resources:
  Queue: {Type: AWS::SQS::Queue}
  Function:
    Type: AWS::Serverless::Function
    Properties: {Handler: a.b, CodeUri: code/, Runtime: python3.13, AutoPublishAlias: live}
  Node:
    Type: AWS::Serverless::Function
    Properties: {Handler: a.b, CodeUri: code/, Runtime: nodejs24.x}
  Workflow: {Type: AWS::StepFunctions::StateMachine, Properties: {DefinitionString: "{}", RoleArn: role}}
  Mixed:
    Type: AWS::Events::Rule
    Properties:
      EventPattern: {source: [a]}
      Targets:
        - {Id: "1", Arn: !Ref FunctionAliaslive}
        - {Id: "2", Arn: !Sub "${Node.Arn}"}
        - {Id: "3", Arn: !GetAtt Queue.Arn}
  Absent:
    Type: AWS::Events::Rule
    Properties: {EventPattern: {source: [a]}, Targets: [{Id: "1", Arn: !Ref Workflow}]}
Outputs:
  Node: {Value: !Sub "node: ${Node.Arn}, ${!Literal}, ${AWS::Region}"}
"""


def test_absent_resources_have_arns_of_aws(plan_of: PlanOf) -> None:
    plan = plan_of(TARGETS, "stack-")
    template = plan.template

    assert plan.omitted == [
        "Node (the runtime nodejs24.x)",
    ]
    function = "arn:aws:lambda:us-east-1:123456789012:function:stack-"
    targets = template["Resources"]["Mixed"]["Properties"]["Targets"]
    assert targets[1]["Arn"] == {"Fn::Sub": f"{function}Node"}
    assert template["Outputs"]["Node"]["Value"] == {"Fn::Sub": f"node: {function}Node, ${{!Literal}}, ${{AWS::Region}}"}
    defaults = {name: parameter["Default"] for name, parameter in template["Parameters"].items()}
    # Workflows call functions by name.
    assert defaults["Function"] == "stack-Function"
    assert defaults["FunctionAliaslive"] == f"{function}Function:live"
    assert defaults["Workflow"] == "arn:aws:states:us-east-1:123456789012:stateMachine:stack-Workflow"


@pytest.mark.parametrize(
    ("properties", "named"),
    [
        ("EventPattern: {source: [openai.com]}", ["Mine"]),
        ("EventPattern: {detail-type: [batch.failed]}", ["Mine"]),
        ("EventPattern: {source: [aws.s3]}", []),
        ("ScheduleExpression: rate(1 hour)", ["Mine (a schedule)"]),
        ("EventBusName: bus, EventPattern: {source: [openai.com]}", []),
    ],
)
def test_rule_that_forgets_bus_is_named(plan_of: PlanOf, properties: str, named: list[str]) -> None:
    rule = f"{{Type: AWS::Events::Rule, Properties: {{{properties}, Targets: [{{Id: a, Arn: !GetAtt Queue.Arn}}]}}}}"
    plan = plan_of(f"{{Resources: {{Queue: {{Type: AWS::SQS::Queue}}, Mine: {rule}}}}}")

    assert [text.partition(" (without EventBusName")[0] for text in plan.omitted] == named


@pytest.mark.parametrize(
    "reference", ["!Ref Absent", "!GetAtt Absent.Arn", '!Sub "x ${Absent.Arn}"', '!Sub ["x ${Absent}", {}]']
)
def test_undeclared_name_is_refused(plan_of: PlanOf, reference: str) -> None:
    with pytest.raises(sam_template.TemplateError, match="refers to Absent, which it does not declare"):
        plan_of(TEMPLATE.replace("!Ref Bus,", f"{reference},", 1))


LAYERS: Final = """
Transform: AWS::Serverless-2016-10-31
Globals: {Function: {Handler: a.b, CodeUri: code/, Runtime: python3.13}}
Resources:
  AsItIs: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: layer/}}
  Built: {Type: AWS::Serverless::LayerVersion, Metadata: {BuildMethod: python3.13}, Properties: {ContentUri: layer/}}
  NoPython: {Type: AWS::Lambda::LayerVersion, Properties: {Content: code/}}
  Empty: {Type: AWS::Serverless::LayerVersion, Properties: {ContentUri: code/}}
  Here: {Type: AWS::Serverless::Function, Properties: {Layers: [!Ref AsItIs]}}
  There: {Type: AWS::Serverless::Function, Properties: {Layers: [!Ref NoPython, !Ref Empty, !Sub "arn:${AWS::Region}"]}}
  OwnBuild:
    Type: AWS::Serverless::Function
    Metadata: {BuildMethod: makefile}
    Properties: {Layers: [!Ref AsItIs, !Ref Built]}
  Vendored: {Type: AWS::Serverless::Function, Properties: {CodeUri: vendored/}}
  Manifest: {Type: AWS::Serverless::Function, Properties: {CodeUri: above/code/}}
  Plain:
    Type: AWS::Lambda::Function
    Properties: {Handler: a.b, Code: code/, Runtime: python3.13, Layers: ["arn:1"], Role: arn}
  Inline: {Type: AWS::Serverless::Function, Properties: {CodeUri: !Ref "AWS::NoValue", InlineCode: "x = 1"}}
"""


def test_layers_and_requirements_are_found(plan_of: PlanOf, tmp_path: Path) -> None:
    for folder in ("layer/python", "above/code", "vendored/package-1.0.dist-info"):
        (tmp_path / folder).mkdir(parents=True)
    files = [tmp_path / name for name in ("code/requirements.txt", "layer/requirements.txt", "above/requirements.txt")]
    for file in files:
        file.parent.mkdir(exist_ok=True)
        file.touch()

    plan = plan_of(LAYERS)

    assert plan.layers["OwnBuild"] == [tmp_path / "layer", tmp_path / "layer/python"]
    assert plan.requirements["Here"] == files[:2]
    assert plan.requirements | {"Here": None} == dict.fromkeys(plan.functions)
    there = {f"the layer {name} of There" for name in ("NoPython", "Empty", "arn:${AWS::Region}")}
    assert set(plan.omitted) == there | {"the layer arn:1 of Plain", "Inline (inline code)"}


def test_missing_code_is_refused(plan_of: PlanOf) -> None:
    with pytest.raises(sam_template.TemplateError, match=r"the CodeUri of Function is not a folder: .*/missing"):
        plan_of(TEMPLATE.replace("code/", "missing/"))


PARAMETERS: Final = {
    "text": ("{Type: String}", ["", "anything\nat all"], []),
    "pattern": ("{Type: String, AllowedPattern: '^[a-z]+$'}", ["abc"], ["", "ABC", "abc1"]),
    "length": ("{Type: String, MinLength: 1, MaxLength: 3}", ["a", "abc"], ["", "abcd"]),
    "choice": ("{Type: String, AllowedValues: [on, 'off']}", ["True", "off"], ["no", ""]),
    "number": ("{Type: Number, MinValue: 1, MaxValue: 9}", ["1", "9", "2.5"], ["0", "10", "one", "", "1,2"]),
    "list": ("{Type: CommaDelimitedList, AllowedPattern: '^[0-9]*$'}", ["", "1", "1,2"], ["1,x", "x"]),
    "numbers": ("{Type: List<Number>, MaxValue: 9}", ["1,2"], ["1,10", "a"]),
}
"""Declarations, and the values that CloudFormation accepts and refuses."""


@pytest.mark.parametrize(("declaration", "accepted", "refused"), PARAMETERS.values(), ids=PARAMETERS)
def test_values_are_those_that_declaration_accepts(
    plan_of: PlanOf, declaration: str, accepted: list[str], refused: list[str]
) -> None:
    plan = plan_of(TEMPLATE.replace("{Type: Number, Default: 7}", declaration))

    for value in accepted:
        plan.check({"Seconds": value})
    for value in refused:
        with pytest.raises(sam_template.TemplateError, match="Seconds cannot be "):
            plan.check({"Seconds": value})


def test_refused_value_has_a_reason(plan_of: PlanOf) -> None:
    for declaration, reason in (
        ("{Type: Number, MaxValue: 9}", "Type Number, MaxValue 9"),
        ("{Type: Number, ConstraintDescription: Use digits.}", "Use digits."),
    ):
        plan = plan_of(TEMPLATE.replace("{Type: Number, Default: 7}", declaration))
        with pytest.raises(sam_template.TemplateError, match=f"Seconds cannot be 'abc'.*{reason}"):
            plan.check({"Seconds": "abc"})


@pytest.mark.parametrize(
    ("old", "new", "omitted"),
    [
        (
            "Resources:",
            "Resources:\n  'Fn::ForEach::Q': [N, [A], {'Q${N}': {Type: 'AWS::SQS::Queue'}}]",
            "Fn::ForEach::Q",
        ),
        ("{Type: Number, Default: 7}", "{Type: 'AWS::SSM::Parameter::Value<String>', Default: /a}", "Seconds in SSM"),
        ("SELF: literal", "SELF: '{{resolve:ssm:/a}}'", "the {{resolve:…}} of Function"),
        ("Api: {Type: AWS::Serverless::HttpApi}", "Api: {Type: AWS::Serverless::HttpApi, Properties: }", None),
        ("Parameters:", "Outputs:\nParameters:", None),
        ("Bus: {", "Fifo: {Type: AWS::SQS::Queue, Properties: {FifoQueue: true}}\n  Bus: {", None),
    ],
    ids=["loop", "SSM", "dynamic reference", "empty properties", "empty section", "FIFO queue"],
)
def test_what_does_not_run_is_named(plan_of: PlanOf, old: str, new: str, omitted: str | None) -> None:
    plan = plan_of(TEMPLATE.replace(old, new, 1))

    assert [str(omitted) in found for found in plan.omitted] == ([True] if omitted else [])
    names = [resource["Properties"].get("QueueName") for resource in plan.template["Resources"].values()]
    assert ("Fifo.fifo" in names) == ("Fifo" in new)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("{detail-type: [a]}", "{detail-type: a}", "EventBridge refuses the rule FunctionRule"),
        ("Bus: {Type: AWS::Events::EventBus, ", "Bus: {", "the resource Bus has no Type"),
    ],
)
def test_wrong_resource_is_named(plan_of: PlanOf, old: str, new: str, reason: str) -> None:
    with pytest.raises(sam_template.TemplateError, match=reason):
        plan_of(TEMPLATE.replace(old, new, 1))
