"""Every IAM statement of the stack, after SAM's transform: who may do what on which resource."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.support.templates import RECEIVER, Stack

RECORDS: Final = "dynamodb:DeleteItem dynamodb:PutItem dynamodb:UpdateItem"
LINES: Final = "logs:CreateLogStream logs:PutLogEvents"
BUS: Final = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:event-bus/${Bus}"
RULES: Final = "arn:${AWS::Partition}:events:${AWS::Region}:${AWS::AccountId}:rule/${EventBus}/*"
MANAGE_RULES: Final = (
    "events:DeleteRule events:DescribeRule events:DisableRule events:EnableRule events:ListTargetsByRule "
    "events:PutRule events:PutTargets events:RemoveTargets"
)
TRACE: Final = ("ReceiverRole", "xray:PutTelemetryRecords xray:PutTraceSegments", "*")

# (role or policy, its actions, their resource)
STATEMENTS: Final = {
    ("ReceiverRole", "secretsmanager:GetSecretValue", "SigningSecret"),
    ("ReceiverRole", RECORDS, "DeliveriesTable.Arn"),
    ("ReceiverRole", "events:PutEvents", BUS),
    ("ReceiverRole", LINES, "ReceiverLog.Arn"),
    TRACE,
    ("ArrivalLogPolicy", LINES, "${ArrivalLog.Arn}"),
    ("SubscriberAccountsPolicy", MANAGE_RULES, RULES),
}
ANY_RESOURCE: Final = {TRACE: "X-Ray's actions support no resource-level permissions"}
ROLES: Final[dict[str, tuple[str, list[str]]]] = {
    # role: (the service that assumes it, its managed policies)
    "ReceiverRole": ("lambda.amazonaws.com", []),
    "CodeDeployServiceRole": (
        "codedeploy.amazonaws.com",
        ["arn:aws:iam::aws:policy/service-role/AWSCodeDeployRoleForLambda"],
    ),
}
INVOKERS: Final = {
    # function: (the service that invokes it, the source ARN)
    "ReceiverFunctionAliaslive": (
        "apigateway.amazonaws.com",
        "arn:${AWS::Partition}:execute-api:${AWS::Region}:${AWS::AccountId}:${__ApiId__}/${__Stage__}"
        "/POST/webhooks/openai",
    ),
}


def test_statements_are_listed() -> None:
    made = list(statements(RECEIVER.defaults))

    assert {(of, actions, resource) for of, actions, resource, _ in made} == STATEMENTS
    assert len(made) == len(STATEMENTS)
    assert all(statement["Effect"] == "Allow" for *_, statement in made)


def test_wildcard_resources_have_reason() -> None:
    made = list(statements(RECEIVER.defaults))

    assert {
        (of, actions, resource) for of, actions, resource, _ in made if resource.startswith("*")
    } <= ANY_RESOURCE.keys()
    assert not any("*" in actions for _, actions, _, _ in made)


@pytest.mark.parametrize(
    ("of", "condition"),
    [
        (
            "ReceiverRole",
            {"StringEquals": {"events:source": {"Ref": "EventSource"}}},
        ),
        ("ArrivalLogPolicy", {"ArnEquals": {"aws:SourceArn": "${ArrivalRule.Arn}"}}),
        (
            "SubscriberAccountsPolicy",
            {
                "StringEqualsIfExists": {
                    "events:creatorAccount": "${aws:PrincipalAccount}",
                    "events:source": {"Ref": "EventSource"},
                }
            },
        ),
    ],
)
def test_conditions_are_listed(of: str, condition: dict[str, Any]) -> None:
    conditions = [
        statement["Condition"]
        for holder, *_, statement in statements(RECEIVER.defaults)
        if holder == of and "Condition" in statement
    ]

    assert conditions == [condition]


def test_tracing_is_allowed_if_enabled() -> None:
    for tracing in ("true", "false"):
        stack = RECEIVER.at(Tracing=tracing)
        [policy] = stack.properties("ReceiverRole")["Policies"]
        actions = [statement["Action"] for statement in stack.value(policy["PolicyDocument"]["Statement"][:-1])]
        last = stack.value(policy["PolicyDocument"]["Statement"][-1])
        assert (last != "AWS::NoValue") == (tracing == "true")
        assert not any("xray" in action for action in actions)


def test_roles_are_listed() -> None:
    roles = RECEIVER.at(GradualDeployment="true").of("IAM::Role")

    assert {name: (trusted(role), named(role.get("ManagedPolicyArns", []))) for name, role in roles.items()} == ROLES


def test_invokers_are_listed() -> None:
    permissions = RECEIVER.defaults.of("Lambda::Permission").values()

    assert {permission["Action"] for permission in permissions} == {"lambda:InvokeFunction"}
    assert {
        name(permission["FunctionName"]): (permission["Principal"], name(permission["SourceArn"]))
        for permission in permissions
    } == INVOKERS


def statements(stack: Stack) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Yield the role or policy, actions, resource and text of every statement, except roles' trust policies."""
    for holder, resource in stack.resources.items():
        properties = resource["Properties"]
        documents = [
            *(policy["PolicyDocument"] for policy in properties.get("Policies", [])),
            *([properties["PolicyDocument"]] if "PolicyDocument" in properties else []),
            *([{"Statement": [properties["Statement"]]}] if "Statement" in properties else []),
        ]
        for document in documents:
            text = document.get("Fn::Sub") if isinstance(document, dict) else document
            for statement in (json.loads(text) if text else document)["Statement"]:
                statement = statement.get("Fn::If", ["", statement])[1]  # noqa: PLW2901  # with its condition true
                actions = statement["Action"]
                yield (
                    holder,
                    actions if isinstance(actions, str) else " ".join(sorted(actions)),
                    name(statement["Resource"]),
                    statement,
                )


def trusted(role: dict[str, Any]) -> str:
    [statement] = role["AssumeRolePolicyDocument"]["Statement"]
    [action] = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
    assert (statement["Effect"], action) == ("Allow", "sts:AssumeRole")
    service = statement["Principal"]["Service"]
    return service if isinstance(service, str) else ",".join(service)


def named(nodes: list[Any]) -> list[str]:
    return [name(node) for node in nodes]


def name(node: Any) -> str:
    """Return the target of a reference: a logical id, `ID.ATTRIBUTE`, or the text of a `Fn::Sub`."""
    if isinstance(node, str):
        return node
    [(function, argument)] = node.items()
    if function == "Fn::GetAtt":
        return ".".join(argument)
    text = argument if isinstance(argument, str) else argument[0]
    assert isinstance(text, str)
    return text
