"""Step Functions workflows in the local system, as a test starts them."""

import json
from typing import Any, NamedTuple

from openai_webhooks_cli.local.local_system import LocalSystem
from tests.support.background import wait_until


class Running(NamedTuple):
    """A local system with stacks of a user, and what it reported."""

    system: LocalSystem
    problems: list[str]
    ends: list[str]

    def start(self, workflow: str, value: Any) -> str:
        """Start an execution. Return its ARN."""
        client = self.system.aws.client("stepfunctions")
        [arn] = [arn for arn in self.system.workflows if arn.endswith(f"-{workflow}")]
        return str(client.start_execution(stateMachineArn=arn, input=json.dumps(value))["executionArn"])

    def execute(self, workflow: str, value: Any) -> dict[str, Any]:
        """Run a workflow to its end. Return the description of the execution."""
        client, execution = self.system.aws.client("stepfunctions"), self.start(workflow, value)

        def ended() -> dict[str, Any] | None:
            description: dict[str, Any] = client.describe_execution(executionArn=execution)
            return None if description["status"] == "RUNNING" else description

        return wait_until(ended, "the end of the execution") or {}
