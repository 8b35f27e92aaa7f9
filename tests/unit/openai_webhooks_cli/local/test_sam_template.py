"""Plans for the embedded AWS."""

from pathlib import Path

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
      Environment: {Variables: {BUS: !Ref Bus, SECRET: !Ref Secret, SELF: literal}}
      Events:
        Request: {Type: HttpApi, Properties: {ApiId: !Ref Api, Method: POST, Path: /here}}
        Rule:
          Type: EventBridgeRule
          Properties: {EventBusName: !Ref Bus, Pattern: {detail-type: [a]}}
"""


@pytest.fixture
def plan(tmp_path: Path) -> sam_template.Plan:
    (tmp_path / "template.yaml").write_text(TEMPLATE)
    return sam_template.plan(tmp_path / "template.yaml")


def test_settings_of_function_become_outputs(plan: sam_template.Plan, tmp_path: Path) -> None:
    outputs = {name: output["Value"] for name, output in plan.template["Outputs"].items()}

    assert outputs["Function/SELF"] == "literal"
    assert outputs["Function/SECRET"] == {"Ref": "Secret"}
    assert outputs["Function/Timeout"] == {"Ref": "Seconds"}
    assert plan.functions["Function"]["Handler"] == "module.handler"
    assert "/" + plan.functions["Function"]["Code"]["S3Key"] == f"{tmp_path}/code"


def test_rule_targets_inbox_of_function(plan: sam_template.Plan) -> None:
    (rule,) = (r["Properties"] for r in plan.template["Resources"].values() if r["Type"] == "AWS::Events::Rule")

    assert rule["Targets"][0]["Arn"] == {"Fn::GetAtt": ["FunctionInbox", "Arn"]}
    assert rule["EventPattern"] == {"detail-type": ["a"]}
    assert plan.template["Resources"]["FunctionInbox"]["Type"] == "AWS::SQS::Queue"


def test_plan_keeps_only_types_that_moto_creates(plan: sam_template.Plan) -> None:
    assert {resource["Type"] for resource in plan.template["Resources"].values()} <= set(sam_template.CREATED_TYPES)
    assert plan.template["Parameters"]["Secret"] == {"Type": "String", "Default": "Secret"}


def test_plan_has_secrets_and_routes(plan: sam_template.Plan) -> None:
    assert plan.secrets == {"Secret": "first"}
    assert plan.routes == [("POST", "/here")]
