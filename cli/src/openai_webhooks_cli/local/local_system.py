"""The whole system on one machine: HTTP API, receiver, embedded AWS, subscribers.

Both stacks come from their templates. docs/guide/local.md says which parts are AWS's own code, which parts are emulated
and which parts are this project's.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

from watchfiles import PythonFilter, watch

from openai_webhooks_cli.dev_defaults import RECEIVER, SUBSCRIBER
from openai_webhooks_cli.event_pattern import EventPattern, InvalidPattern
from openai_webhooks_cli.local.event_bridge import NOT_RUN, Event, Verdict, function_name
from openai_webhooks_cli.local.function_pool import Function, FunctionFailed, FunctionPool
from openai_webhooks_cli.local.http_api import AnsweredDelivery, HttpApi
from openai_webhooks_cli.local.moto_aws import MotoAws
from openai_webhooks_cli.local.openai_stand_in import API_KEY, OpenAIRequest, OpenAIStandIn
from openai_webhooks_cli.local.ports import listen
from openai_webhooks_cli.local.sam_template import TemplateError
from openai_webhooks_cli.local.subscribers import Arrival, Subscribers
from openai_webhooks_cli.local.wsgi_server import LOOPBACK
from openai_webhooks_cli.send import SendError, send

RECEIVER_STACK = "openai-webhooks"
RESPONSE_SECONDS = 2.0
RECEIVER_PROCESSES = 2  # so that two copies of a delivery can be in progress at the same time


class LocalSystem:
    """The running system. It starts on construction and stops at the end of the `with` statement.

    Each function's output goes to a file in the folder `logs`. `templates` are the stacks of subscribers, and
    `parameters` are for those that declare them. Raises TemplateError and PortTakenError.
    `on_progress` is called with each step of the start. From other threads, `on_answer` is called with each request,
    `on_arrival` with each event that a subscriber handled, `on_openai_answer` with each request to the stand-in for
    OpenAI's API and its status code, `on_workflow_end` with a text about each execution that ends, and `on_problem`
    with what does not run.

    A function whose template declares OPENAI_BASE_URL gets the stand-in as its OpenAI. A response that it starts in the
    background ends after 2 seconds, and the receiver then gets OpenAI's event.
    """

    def __init__(
        self,
        *,
        secret: str,
        logs: Path,
        templates: Sequence[Path] = (SUBSCRIBER,),
        parameters: Mapping[str, str] | None = None,
        port: int = 0,
        aws_port: int = 0,
        aws_hosts: Sequence[str] = (LOOPBACK,),
        on_progress: Callable[[str], None] = lambda _: None,
        on_answer: Callable[[AnsweredDelivery], None] = lambda _: None,
        on_problem: Callable[[str], None] = lambda _: None,
        on_arrival: Callable[[Arrival], None] = lambda _: None,
        on_openai_answer: Callable[[OpenAIRequest, int], None] = lambda _request, _status: None,
        on_workflow_end: Callable[[str], None] = lambda _: None,
    ) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would log each request, also those to moto
        self._on_problem = on_problem
        self._on_workflow_end = on_workflow_end
        self._parameters = dict(parameters or {})
        self._templates = {RECEIVER, *(template.resolve() for template in templates)}
        self._declared: set[str] = set()
        with ExitStack() as parts:
            listener = parts.enter_context(listen(port, "--port"))
            for host in aws_hosts:
                listen(aws_port, "--aws-port", host).close()

            on_progress("Starting the embedded AWS")
            self.aws = MotoAws(aws_port, aws_hosts)
            parts.callback(self.aws.close)

            self.openai = OpenAIStandIn(seconds=RESPONSE_SECONDS, on_end=self._deliver, on_answer=on_openai_answer)
            parts.callback(self.openai.close)

            on_progress("Deploying the stacks from their templates")
            receiver_stack = self.aws.deploy(RECEIVER, RECEIVER_STACK)
            self.bus = receiver_stack.outputs["EventBusName"]
            self._own_rules = {rule.name for rule in self.aws.event_bridge.rules(self.bus)}
            (self._secret_arn,) = receiver_stack.secrets.values()
            self.store_secret(secret)
            self.workflows: list[str] = []
            """The ARNs of the state machines."""
            functions = [function for template in templates for function in self._deploy(template)]
            if unknown := self._parameters.keys() - self._declared:
                raise TemplateError(f"No template has the parameter {', '.join(sorted(unknown))}. Check --parameter.")

            on_progress("Starting the functions")
            (function,) = receiver_stack.functions.values()
            self._source = function.environment["EVENT_SOURCE"]
            self._receiver = FunctionPool(function, logs=logs, size=RECEIVER_PROCESSES)
            parts.callback(self._receiver.close)
            self.subscribers = Subscribers(
                functions,
                logs=logs,
                send_message=self.aws.send_message,
                before_invoke=self.openai.learn,
                on_problem=on_problem,
                on_arrival=on_arrival,
            )
            parts.callback(self.subscribers.close)
            self.aws.event_bridge.invoke = self.subscribers.invoke_later
            self.aws.event_bridge.on_problem = on_problem
            self._wait_for_receiver()
            self.subscribers.start()

            (route,) = receiver_stack.routes
            self.http_api = HttpApi(listener, route, self._receiver, on_answer=on_answer)
            parts.callback(self.http_api.close)
            self._parts = parts.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._parts.close()

    def store_secret(self, secret: str) -> None:
        """Make `secret` the current signing secret. The current one becomes the previous one, as in a rotation."""
        self.aws.client("secretsmanager").put_secret_value(SecretId=self._secret_arn, SecretString=secret)
        self._secret = secret

    def watch_bus(self, on_event: Callable[[Event], object]) -> None:
        """Call `on_event`, from another thread, with each event on the bus, from any publisher."""
        self.aws.event_bridge.on_event = lambda bus, event: bus == self.bus and on_event(event)

    def rules(self) -> list[Any]:
        """Return the rules of subscribers, by name. They are moto's objects."""
        return [
            rule
            for rule in self.aws.event_bridge.rules(self.bus)
            if not (rule.name in self._own_rules or rule.managed_by or "-listen-" in rule.name)
        ]

    def verdicts(self, on_bus: Event) -> list[Verdict]:
        """Return what each rule of a subscriber does with an event on the bus."""
        return [self.aws.event_bridge.verdict(rule, on_bus) for rule in self.rules()]

    def matching_targets(self, event: Mapping[str, Any]) -> list[str]:
        """Return the targets of the rules that pass an event of OpenAI on, sorted."""
        verdicts = self.verdicts(self.on_bus(event))
        return sorted(target for verdict in verdicts if verdict.passes for target in verdict.targets)

    def on_bus(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Return an event of OpenAI in the form in which rules match it."""
        return {"source": self._source, "detail-type": event["type"], "detail": event}

    def arrivals_logged(self) -> int:
        """Return the number of events that the bus has logged."""
        logs = self.aws.client("logs")
        # EventBridge logs only to groups with this prefix.
        (group,) = logs.describe_log_groups(logGroupNamePrefix="/aws/events/")["logGroups"]
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName=group["logGroupName"])
        return sum(len(page["events"]) for page in pages)

    def reload_on_change(self, on_reload: Callable[[str], None]) -> None:
        """Restart a function when a file of its code is saved. Does not return.

        `on_reload` is called with the function's name and the file. An error that keeps the function from starting is a
        problem, and the next saved file tries again. A saved template is a problem too: it needs another start.
        """
        pools = [self._receiver, *self.subscribers.pools]
        watched = {*(pool.function.code for pool in pools), *self._templates}
        python = PythonFilter(extra_extensions=[template.suffix for template in self._templates])
        # Without a stop event: the thread that calls this ends with the process.
        for changes in watch(*watched, watch_filter=python, debounce=200):
            files = [Path(name) for _, name in changes]
            for template in self._templates.intersection(files):
                self._on_problem(f"{template} was saved: press Ctrl-C, and start dev again to use it.")
            code = [file for file in files if file.suffix == ".py"]
            for pool in pools:
                if changed := [file for file in code if file.is_relative_to(pool.function.code)]:
                    starts = self._wait_for_restart(pool)
                    if starts:
                        on_reload(f"{pool.function.short_name} ({changed[0].relative_to(pool.function.code)})")

    def _wait_for_restart(self, pool: FunctionPool) -> bool:
        if pool is not self._receiver:
            return self.subscribers.restart(pool)
        pool.restart()
        return self._wait_for_receiver()

    def _wait_for_receiver(self) -> bool:
        try:
            for warning in self._receiver.wait_until_ready():
                self._on_problem(warning)
        except FunctionFailed as error:
            self._on_problem(f"The receiver does not start: {error}\n{error.details}")
            return False
        return True

    def _deploy(self, template: Path) -> list[Function]:
        """Deploy a subscribers' stack. Return the functions that rules or workflows invoke."""
        is_default = template.resolve() == SUBSCRIBER
        name = "openai-webhooks-subscriber" if is_default else template.resolve().parent.name
        known = {rule.arn for rule in self.aws.event_bridge.all_rules()}
        stack = self.aws.deploy(template, name, prefix="" if is_default else f"{name}-", parameters=self._parameters)
        bridge = self.aws.event_bridge
        rules = [rule for rule in bridge.all_rules() if rule.arn not in known]
        for rule in rules:
            try:
                EventPattern(rule.event_pattern.dump())
            except InvalidPattern as error:
                raise TemplateError(f"{template}: EventBridge refuses the rule {rule.name}: {error}.") from None
        self._declared |= stack.parameters
        if stack.workflows:
            from openai_webhooks_cli.local import workflows  # noqa: PLC0415  # see its docstring

            for workflow, definition in stack.workflows.items():
                try:
                    self.workflows.append(workflows.create(self.aws, workflow, definition))
                except workflows.InvalidWorkflow as error:
                    self._on_problem(f"{template}: {workflow} does not run here: {error}")
            workflows.connect(self.aws, self._invoke, self._on_workflow_end)
        bridge.functions |= {function.name for function in stack.functions.values()}
        targets = {target["Arn"]: (bridge.name(target), rule.name) for rule in rules for target in rule.targets}
        invoked = {function_name(arn) for arn in targets if ":lambda:" in arn}
        definitions = "".join(stack.workflows.values())
        used = {
            name: function
            for name, function in stack.functions.items()
            if function.name in invoked or function.name in definitions
        }
        omitted = [
            *stack.omitted,
            *(
                f"the target {name.replace(f', {NOT_RUN}', '')} of {rule}"
                for name, rule in targets.values()
                if NOT_RUN in name
            ),
            *(f"{name} (nothing that runs here invokes it)" for name in stack.functions.keys() - used.keys()),
        ]
        if omitted:
            self._on_problem(f"{template}: not run here: {', '.join(omitted)}")
        for function in used.values():
            aliases = {arn.rpartition(":")[2] for arn in targets if f":function:{function.name}:" in arn}
            self.aws.create_function(function, aliases)
        return [self._connected(function) for function in used.values()]

    def _connected(self, function: Function) -> Function:
        """Return the function with the stand-in as its OpenAI, if its template declares the address of the API."""
        if "OPENAI_BASE_URL" not in function.environment:
            return function
        if secret_name := function.environment.get("OPENAI_API_KEY_SECRET_NAME"):
            secrets = self.aws.client("secretsmanager")
            with suppress(secrets.exceptions.ResourceExistsException):
                secrets.create_secret(Name=secret_name, SecretString=API_KEY)
        return function._replace(environment={**function.environment, "OPENAI_BASE_URL": self.openai.base_url})

    def _invoke(self, function: str, event: Any) -> Any:
        """Invoke a function for a workflow. The subscribers exist before the first workflow can start."""
        return self.subscribers.invoke(function, event)

    def _deliver(self, event_type: str, resource_id: str) -> None:
        """Deliver an event about a resource to the receiver, as OpenAI does."""
        try:
            send(event_type, url=self.http_api.url, secret=self._secret, data=[f"id={resource_id}"])
        except SendError as error:
            self._on_problem(str(error))
