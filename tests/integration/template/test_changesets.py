"""Deploy both stacks to the embedded AWS with change sets, as `sam deploy` does.

The stack's status is not enough: moto reports CREATE_COMPLETE and leaves out types that it does not know. So the tests
compare the existing resources with the declared ones, and list every type that moto leaves out.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from openai_webhooks_cli.local.moto_aws import MotoAws
from tests.support.templates import RECEIVER, SUBSCRIBER, Source, Stack

# moto warns in its own threads about each type that it leaves out. SKIPPED lists them.
pytestmark = pytest.mark.filterwarnings("ignore:Tried to parse AWS:UserWarning")

TEMPLATES: Final[dict[str, Source]] = {"receiver": RECEIVER, "subscriber": SUBSCRIBER}

BREAKS_MOTO: Final = {
    "AWS::ApiGatewayV2::Api": "refers to an alias",
    "AWS::ApiGatewayV2::ApiMapping": "refers to an API",
    "AWS::ApiGatewayV2::Stage": "refers to an API",
    "AWS::Events::Archive": "its pattern must be text",
    "AWS::Lambda::Alias": "refers to a version",
    "AWS::Lambda::Version": "refers to a function by its logical id",
}
"""Types that moto fails on. The tests remove them, and the resources that refer to them."""
DEPENDENTS: Final = ("ReceiverFunctionDeliveryPermission", "RefusalAlarm")

SKIPPED: Final = {
    "receiver": {
        "ErrorAlarm": "AWS::CloudWatch::Alarm",
        "SigningSecret": "AWS::SecretsManager::Secret",
    },
    "subscriber": {
        "DeadLettersPolicy": "AWS::SQS::QueuePolicy",
        "OnBatchFunctionEventInvokeConfig": "AWS::Lambda::EventInvokeConfig",
        "OnCallFunctionEventInvokeConfig": "AWS::Lambda::EventInvokeConfig",
        "OnFailureFunctionEventInvokeConfig": "AWS::Lambda::EventInvokeConfig",
        "OnResponseCompletedFunctionEventInvokeConfig": "AWS::Lambda::EventInvokeConfig",
    },
}
"""Resources that moto leaves out."""
UNLISTED: Final = {"EventBus": "AWS::Events::EventBus"} | {
    f"On{name}FunctionRulePermission": "AWS::Lambda::Permission"
    for name in ("Batch", "Call", "Failure", "ResponseCompleted")
}
"""Resources that moto creates but does not list. The test asks their services instead."""


@pytest.fixture(scope="module")
def aws() -> Iterator[MotoAws]:
    aws = MotoAws()
    aws.client("s3").create_bucket(Bucket="local")
    yield aws
    aws.close()


def test_both_stacks_deploy_with_change_sets(aws: MotoAws) -> None:
    for name, source in TEMPLATES.items():
        template = for_moto(source.at().template, bus="receiver")
        declared = {logical_id: f"AWS::{kind}" for logical_id, kind in Stack(template).created.items()}

        created = deploy(aws, name, template)

        assert declared.items() - created.items() - UNLISTED.items() == SKIPPED[name].items()
        assert created.items() <= declared.items()

    lambda_ = aws.client("lambda")
    subscribers = [
        function["FunctionName"]
        for function in lambda_.list_functions()["Functions"]
        if function["FunctionName"].startswith("subscriber-")
    ]
    policies = [json.loads(lambda_.get_policy(FunctionName=name)["Policy"]) for name in subscribers]
    assert [policy["Statement"][0]["Principal"] for policy in policies] == [{"Service": "events.amazonaws.com"}] * 4
    assert [bus["Name"] for bus in aws.client("events").list_event_buses()["EventBuses"]] == ["default", "receiver"]
    rules = aws.client("events").list_rules(EventBusName="receiver")["Rules"]
    assert sorted(rule["Name"].rpartition("-")[0] for rule in rules) == [
        "receiver-ArrivalRule",
        "subscriber-OnBatchFunctionRule",
        "subscriber-OnCallFunctionRule",
        "subscriber-OnFailureFunctionRule",
        "subscriber-OnResponseCompletedFunctionRule",
    ]


def deploy(aws: MotoAws, name: str, template: dict[str, Any]) -> dict[str, str]:
    """Deploy the template as SAM CLI does. Return the types of the resources that exist then, by logical id."""
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Lambda::Function":
            code = resource["Properties"]["Code"]
            aws.client("s3").put_object(Bucket=code["S3Bucket"], Key=code["S3Key"], Body=b"")
    cloudformation = aws.client("cloudformation")
    cloudformation.create_change_set(
        StackName=name,
        ChangeSetName="deploy",
        ChangeSetType="CREATE",
        TemplateBody=json.dumps(template),
        Capabilities=["CAPABILITY_IAM"],
    )
    described = cloudformation.describe_change_set(StackName=name, ChangeSetName="deploy")
    assert {change["ResourceChange"]["LogicalResourceId"] for change in described["Changes"]} == (
        template["Resources"].keys()
    )

    cloudformation.execute_change_set(StackName=name, ChangeSetName="deploy")
    assert cloudformation.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE"

    return {
        resource["LogicalResourceId"]: resource["ResourceType"]
        for resource in cloudformation.list_stack_resources(StackName=name)["StackResourceSummaries"]
        if resource["PhysicalResourceId"]
    }


def for_moto(template: dict[str, Any], *, bus: str) -> dict[str, Any]:
    """Return the template without what moto fails on: the types above, `Ref` to a bus, and imports from a stack."""
    template["Resources"] = {
        name: resource
        for name, resource in template["Resources"].items()
        if resource["Type"] not in BREAKS_MOTO and name not in DEPENDENTS
    }
    template.pop("Outputs", None)
    text = (
        json.dumps(template)
        .replace('{"Ref": "EventBus"}', '{"Fn::GetAtt": ["EventBus", "Name"]}')
        .replace('{"Fn::ImportValue": {"Fn::Sub": "${ReceiverStack}-EventBusName"}}', f'"{bus}"')
    )
    result: dict[str, Any] = json.loads(text)
    return result
