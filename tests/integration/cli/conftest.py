"""The whole chain, in which every function has just the privileges that its template gives it.

moto's IAM decides on each of their calls, by action and resource; it evaluates no conditions. Test modules take types
from here, for annotations only; everything else comes through fixtures.
"""

import gc
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

from webhooks import demo, samples, stacks
from webhooks.chain import Chain
from webhooks.embedded import ACCOUNT, ENVIRONMENT, Aws, Stack
from webhooks.instances import Function
from webhooks.stacks import REGION

BASIC: Final = "arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
"""AWS's own policy, for Lambda's logs, which moto doesn't have."""

RESOURCES: Final[Mapping[str, Callable[[BaseResponse], str]]] = {
    "secretsmanager": lambda request: str(request._get_param("SecretId")),
    "dynamodb": lambda request: f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{request._get_param('TableName')}",
    "events": lambda request: (
        f"arn:aws:events:{REGION}:{ACCOUNT}:event-bus/{request._get_param('Entries')[0]['EventBusName']}"
    ),
}
"""What a request to each service is about: moto leaves it to them to say, and these don't."""


class Call(NamedTuple):
    role: str
    action: str
    resource: str


@dataclass
class Privileges:
    """The functions' roles, and what they have been used for."""

    functions: dict[str, Function] = field(default_factory=dict)
    """By logical id, each with its role's credentials in its environment."""
    roles: dict[str, Role] = field(default_factory=dict)
    """By the function's logical id."""
    calls: list[Call] = field(default_factory=list)
    denied: list[Call] = field(default_factory=list)


@pytest.fixture(scope="module")
def previous_secret() -> str:
    """The signing secret before the demonstration, which rotates it."""
    return samples.new_secret()


@pytest.fixture(scope="module")
def secret() -> str:
    return samples.new_secret()


@pytest.fixture(scope="module")
def privileges() -> Iterator[Privileges]:
    privileges = Privileges()
    deploy = Aws.deploy

    def deploy_with_roles(aws: Aws, path: Path, stack_name: str) -> Stack:
        stack = deploy(aws, path, stack_name)
        plan = stacks.plan(path)
        for name, function in stack.functions.items():
            [role, _] = plan.functions[name]["Role"]["Fn::GetAtt"]
            privileges.roles[name] = _role(aws, stack_name, role, plan.template["Resources"][role]["Properties"])
            environment = {**function.environment, **_credentials(aws, privileges.roles[name])}
            privileges.functions[name] = stack.functions[name] = function._replace(environment=environment)
        return stack

    with pytest.MonkeyPatch.context() as patch, _enforced(privileges):
        patch.setattr(stacks, "MADE", (*stacks.MADE, "AWS::IAM::ManagedPolicy", "AWS::IAM::Role"))
        patch.setattr(Aws, "deploy", deploy_with_roles)
        yield privileges


@pytest.fixture(scope="module")
def chain(previous_secret: str, privileges: Privileges, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with Chain(secret=previous_secret, log=tmp_path_factory.mktemp("chain") / "functions.log") as chain:
        # What all of this has made stays. To walk through it takes a collection of garbage about as long as the
        # functions wait for the AWS that runs in this process.
        gc.collect()
        gc.freeze()
        yield chain
        gc.unfreeze()


@pytest.fixture(scope="module")
def results(chain: Chain, secret: str, previous_secret: str) -> list[demo.Result]:
    """What came of the demonstration."""
    return demo.deliver(chain, secret=secret, previous_secret=previous_secret, progress=lambda: None)


def _role(aws: Aws, stack_name: str, logical_id: str, declared: dict[str, Any]) -> Role:
    """The role that the stack has made, with all of its policies."""

    def physical_id(logical_id: str) -> str:
        cloudformation = aws.client("cloudformation")
        described = cloudformation.describe_stack_resource(StackName=stack_name, LogicalResourceId=logical_id)
        return str(described["StackResourceDetail"]["PhysicalResourceId"])

    iam = iam_backends[ACCOUNT]["aws"]
    role = iam.get_role(physical_id(logical_id))
    # moto's CloudFormation gives a role its own policies as objects, which moto's IAM can't read, and no managed ones.
    for name, document in role.policies.items():
        role.put_policy(name, json.dumps(document))
    for policy in declared.get("ManagedPolicyArns", []):
        if policy != BASIC:
            iam.attach_role_policy(physical_id(policy["Ref"]), role.name)
    return role


def _credentials(aws: Aws, role: Role) -> dict[str, str]:
    """The environment variables by which Lambda hands a role to a function."""
    session = aws.client("sts").assume_role(RoleArn=role.arn, RoleSessionName="function")["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": session["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": session["SecretAccessKey"],
        "AWS_SESSION_TOKEN": session["SessionToken"],
    }


@contextmanager
def _enforced(privileges: Privileges) -> Iterator[None]:
    """With moto's IAM deciding on whatever is not done by the embedded AWS itself."""
    decide = ActionAuthenticatorMixin._authenticate_and_authorize_action

    def authorize(request: BaseResponse, _resource: str = "*") -> None:
        if f"Credential={ENVIRONMENT['AWS_ACCESS_KEY_ID']}/" not in request.headers["Authorization"]:
            decide(request, Decision, RESOURCES[str(request.service_name)](request))

    class Decision(IAMRequest):
        def check_action_permitted(self, resource: str) -> None:
            call = Call(self._access_key._owner_role_name, self._action, resource)  # type: ignore[union-attr]
            privileges.calls.append(call)
            try:
                super().check_action_permitted(resource)
            except AccessDeniedError:
                privileges.denied.append(call)
                raise

    with enable_iam_authentication(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(ActionAuthenticatorMixin, "_authenticate_and_authorize_normal_action", authorize)
        yield
