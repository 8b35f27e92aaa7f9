"""The local system in which every function has only the permissions that its template gives it.

moto's IAM decides about each call of a function, by action and resource. It evaluates no conditions.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from moto.core.authorization import ActionAuthenticatorMixin, enable_iam_authentication
from moto.core.exceptions import AccessDeniedError
from moto.core.responses import BaseResponse
from moto.iam.access_control import IAMRequest
from moto.iam.models import Role, iam_backends
from werkzeug import Response

from openai_webhooks_cli.local import sam_template
from openai_webhooks_cli.local.event_bridge import EventBridge
from openai_webhooks_cli.local.function_pool import Function
from openai_webhooks_cli.local.moto_aws import LAMBDA_ENVIRONMENT, DeployedStack, MotoAws
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION

BASIC_EXECUTION: Final = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
"""AWS's own policy for Lambda's logs. moto does not have it."""

RESOURCES: Final[Mapping[str, Callable[[BaseResponse], str]]] = {
    "secretsmanager": lambda request: str(request._get_param("SecretId")),
    "dynamodb": lambda request: f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{request._get_param('TableName')}",
}
"""The resource of a request, by service. moto does not know it for these services."""


class Call(NamedTuple):
    role: str
    action: str
    resource: str


@dataclass
class Permissions:
    """The functions' roles, and the calls that they made."""

    functions: dict[str, Function] = field(default_factory=dict)
    """By logical id. The environment has the credentials of the function's role."""
    roles: dict[str, Role] = field(default_factory=dict)
    """By the function's logical id."""
    calls: list[Call] = field(default_factory=list)
    denied: list[Call] = field(default_factory=list)


@contextmanager
def enforced_permissions() -> Iterator[Permissions]:
    """Give each function that is deployed in this context its own role, and let moto's IAM decide about its calls."""
    permissions = Permissions()
    deploy = MotoAws.deploy

    def deploy_with_roles(aws: MotoAws, path: Path, stack_name: str, **options: Any) -> DeployedStack:
        stack = deploy(aws, path, stack_name, **options)
        plan = sam_template.plan(path)
        for name, function in stack.functions.items():
            [role, _] = plan.functions[name]["Role"]["Fn::GetAtt"]
            permissions.roles[name] = _role(aws, stack_name, role, plan.template["Resources"][role]["Properties"])
            environment = {**function.environment, **_credentials(aws, permissions.roles[name])}
            permissions.functions[name] = stack.functions[name] = function._replace(environment=environment)
        return stack

    types = (*sam_template.CREATED_TYPES, "AWS::IAM::ManagedPolicy", "AWS::IAM::Role")
    with pytest.MonkeyPatch.context() as patch, _enforced(permissions):
        patch.setattr(sam_template, "CREATED_TYPES", types)
        patch.setattr(MotoAws, "deploy", deploy_with_roles)
        yield permissions


def allowed(role: Role) -> Iterator[tuple[str, str]]:
    """Yield each action that the role allows, with its resource."""
    attached = [policy.versions[-1].document for policy in role.managed_policies.values()]
    for document in [*role.policies.values(), *attached]:
        for statement in json.loads(document)["Statement"]:
            actions = statement["Action"]
            for action in [actions] if isinstance(actions, str) else actions:
                yield action, statement["Resource"]


def _role(aws: MotoAws, stack_name: str, logical_id: str, declared: dict[str, Any]) -> Role:
    """Return the role that the stack created, with all its policies."""

    def physical_id(logical_id: str) -> str:
        cloudformation = aws.client("cloudformation")
        resource = cloudformation.describe_stack_resource(StackName=stack_name, LogicalResourceId=logical_id)
        return str(resource["StackResourceDetail"]["PhysicalResourceId"])

    iam = iam_backends[ACCOUNT]["aws"]
    role = iam.get_role(physical_id(logical_id))
    # moto's CloudFormation stores inline policies as objects, but moto's IAM reads text. It keeps a null for a
    # statement that is AWS::NoValue. It attaches no managed policy.
    policies: dict[str, Any] = dict(role.policies)
    for name, document in policies.items():
        statements = [statement for statement in document["Statement"] if statement]
        role.put_policy(name, json.dumps({**document, "Statement": statements}))
    for policy in declared.get("ManagedPolicyArns", []):
        if policy != BASIC_EXECUTION:
            iam.attach_role_policy(physical_id(policy["Ref"]), role.name)
    return role


def _credentials(aws: MotoAws, role: Role) -> dict[str, str]:
    """Return the environment variables with which Lambda gives a role's credentials to a function."""
    session = aws.client("sts").assume_role(RoleArn=role.arn, RoleSessionName="function")["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["SessionToken"],
    }


@contextmanager
def _enforced(permissions: Permissions) -> Iterator[None]:
    """Let moto's IAM decide about all calls, except those with the credentials of the embedded AWS itself."""
    decide = ActionAuthenticatorMixin._authenticate_and_authorize_action

    def authorize(request: BaseResponse, _resource: str = "*") -> None:
        if f"Credential={LAMBDA_ENVIRONMENT['AWS_ACCESS_KEY_ID']}/" not in request.headers["Authorization"]:
            decide(request, Decision, RESOURCES[str(request.service_name)](request))

    class Decision(IAMRequest):
        def check_action_permitted(self, resource: str) -> None:
            role = self._access_key._owner_role_name  # type: ignore[union-attr]  # every call here has a role's key
            call = Call(role, self._action, resource)
            permissions.calls.append(call)
            try:
                super().check_action_permitted(resource)
            except AccessDeniedError:
                permissions.denied.append(call)
                raise

    put_events = EventBridge._put_events

    def put_events_if_allowed(bridge: EventBridge, environ: Any, parameters: dict[str, Any]) -> Response:
        """PutEvents does not reach moto."""
        for name, function in permissions.functions.items():
            if f"Credential={function.environment['AWS_ACCESS_KEY_ID']}/" in environ["HTTP_AUTHORIZATION"]:
                role, bus = permissions.roles[name], parameters["Entries"][0]["EventBusName"]
                call = Call(role.name, "events:PutEvents", f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{bus}")
                permissions.calls.append(call)
                if call[1:] not in allowed(role):
                    permissions.denied.append(call)
                    message = f"{role.arn} is not authorized to perform {call.action}"
                    return Response(json.dumps({"__type": "AccessDeniedException", "message": message}), 400)
        return put_events(bridge, environ, parameters)

    with enable_iam_authentication(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(ActionAuthenticatorMixin, "_authenticate_and_authorize_normal_action", authorize)
        patch.setattr(EventBridge, "_put_events", put_events_if_allowed)
        yield
