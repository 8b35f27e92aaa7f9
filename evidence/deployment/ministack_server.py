"""ministack with the gaps closed that the tests of deployments would run into.

`ministack.py` runs this in `.venv-ministack`. It ends when its standard input ends, so it does not outlive a test run
that is killed. `ministack.py` deletes TMPDIR, which has its files and the functions' code.

It imports ministack and changes it before it serves. `PINNED` is the only version that these changes are known to fit.
docs/guide/proven.md lists the differences from AWS that remain.
"""

import asyncio
import copy
import json
import os
import re
import signal
import sys
import threading
import zipfile
from collections.abc import Callable
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any, Final

import boto3
from botocore.exceptions import ClientError
from hypercorn.asyncio import serve
from hypercorn.config import Config
from ministack.app import app
from ministack.core import iam_actions, iam_evaluator, lambda_runtime
from ministack.core.responses import new_uuid
from ministack.services import apigateway, cloudwatch_logs, eventbridge, lambda_svc, stepfunctions
from ministack.services.cloudformation import changesets, engine, handlers, provisioners

PINNED: Final = "1.5.33"

type Properties = dict[str, Any]
type Created = tuple[str, dict[str, Any]]
"""What `Ref` returns, and what `Fn::GetAtt` returns."""


def main() -> None:
    installed = version("ministack")
    if installed != PINNED:
        sys.exit(
            f"ministack {installed} is installed, but evidence/deployment/ministack_server.py fits only {PINNED}. For "
            "another version, change PINNED there and the version in pyproject.toml. Remove the gaps that the version "
            "has closed. Then run: make lock e2e"
        )
    close_gaps()
    asyncio.run(serve_until_parent_ends(int(sys.argv[1])))


async def serve_until_parent_ends(listener: int) -> None:
    """Serve on a listening socket, given by its file descriptor. Then end this process."""
    config = Config()
    config.bind = [f"fd://{listener}"]
    config.loglevel = "WARNING"
    config.graceful_timeout = 0
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    for stop_signal in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(stop_signal, stopped.set)

    def wait_for_parent() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(stopped.set)

    threading.Thread(target=wait_for_parent, daemon=True).start()
    await serve(app, config, shutdown_trigger=stopped.wait)
    # asyncio would wait for threads that run functions. The functions' processes end with this one.
    os._exit(0)


def close_gaps() -> None:
    pass_parameters_to_transform()
    add_missing_types()
    read_routes_of_http_api()
    let_secret_refer_to_arn()
    accept_metric_math()
    invoke_functions_asynchronously()
    deliver_events_to_logs()
    ignore_empty_endpoint()
    hide_packages_of_ministack()
    add_condition_key()
    count_loopback_as_tls()
    share_extracted_code()
    fail_task_of_failed_function()
    connect_task_tokens_to_executions()


def pass_parameters_to_transform() -> None:
    """Close two silent gaps: what SAM's transform and the conditions make of parameters.

    The transform gets no values, so `GradualDeployment=true` would have no effect. `Fn::Join` in a condition is not
    resolved, so `ShareBus` would always be true.
    """
    apply_transforms = engine._apply_transforms

    def with_parameters(template: Properties, provided: Any = None, previous: Any = None) -> Properties:
        values = engine._transform_parameters(template, provided, previous)
        source = copy.deepcopy(template)
        declared = source.get("Parameters", {})
        for name in declared.keys() & values.keys():
            declared[name]["Default"] = values[name]
        result: Properties = apply_transforms(source, provided, previous)
        if "Parameters" in template:
            result["Parameters"] = template["Parameters"]
        if "Conditions" in result:
            result["Conditions"] = without_join(result["Conditions"], values)
        return result

    for module in (changesets, engine, handlers):
        module._apply_transforms = with_parameters


def without_join(node: Any, values: dict[str, str]) -> Any:
    """Return the node with each `Fn::Join` of a list parameter replaced by its text."""
    match node:
        case {"Fn::Join": [str(separator), {"Ref": str(name)}]}:
            return separator.join(values[name].split(","))
        case dict():
            return {key: without_join(value, values) for key, value in node.items()}
        case list():
            return [without_join(value, values) for value in node]
    return node


def add_missing_types() -> None:
    """Close a gap that fails a deployment: four types that ministack does not know."""

    def archive_settings(name: str, properties: Properties) -> Properties:
        return {
            "ArchiveName": name,
            "EventSourceArn": properties["SourceArn"],
            "EventPattern": json.dumps(properties["EventPattern"]),
            "RetentionDays": int(properties["RetentionDays"]),
            "Description": properties["Description"],
        }

    def create_archive(logical_id: str, properties: Properties, stack_name: str) -> Created:
        name = provisioners._physical_name(stack_name, logical_id, max_len=48)
        succeed(eventbridge._create_archive(archive_settings(name, properties)))
        return name, {"Arn": eventbridge._archives[name]["ArchiveArn"], "ArchiveName": name}

    def update_archive(name: str, old: Properties, new: Properties, stack_name: str, logical_id: str) -> Created:
        if old["SourceArn"] != new["SourceArn"]:
            # A replacement. The name of the new archive would equal that of the old one.
            delete_archive(name, old)
            return create_archive(logical_id, new, stack_name)
        succeed(eventbridge._update_archive(archive_settings(name, new)))
        return name, {"Arn": eventbridge._archives[name]["ArchiveArn"], "ArchiveName": name}

    def delete_archive(name: str, _properties: Properties) -> None:
        eventbridge._delete_archive({"ArchiveName": name})

    def put_bus_policy(_logical_id: str, properties: Properties, _stack_name: str) -> Created:
        bus, sid = properties["EventBusName"], properties["StatementId"]
        remove_bus_policy(f"{bus}|{sid}", properties)
        policy = eventbridge._event_bus_policies.setdefault(bus, {"Version": "2012-10-17", "Statement": []})
        policy["Statement"].append({"Sid": sid, **properties["Statement"]})
        return f"{bus}|{sid}", {}

    def remove_bus_policy(physical_id: str, _properties: Properties) -> None:
        bus, sid = physical_id.split("|")
        eventbridge._remove_permission({"EventBusName": bus, "StatementId": sid})

    def create_nothing(logical_id: str, _properties: Properties, stack_name: str) -> Created:
        return provisioners._physical_name(stack_name, logical_id), {}

    def keep(physical_id: str, _old: Properties, _new: Properties, _stack_name: str) -> Created:
        return physical_id, {}

    nothing = {"create": create_nothing, "update": keep, "delete": lambda _physical_id, _properties: None}
    provisioners._RESOURCE_HANDLERS |= {
        "AWS::Events::Archive": {
            "create": create_archive,
            "update": update_archive,
            "update_with_logical_id": True,
            "delete": delete_archive,
        },
        "AWS::Events::EventBusPolicy": {
            "create": put_bus_policy,
            "update": lambda _id, _old, new, stack_name: put_bus_policy("", new, stack_name),
            "delete": remove_bus_policy,
        },
        # No canary: a new version gets all deliveries at once.
        "AWS::CodeDeploy::Application": nothing,
        "AWS::CodeDeploy::DeploymentGroup": nothing,
        "AWS::CloudWatch::InsightRule": nothing,
    }


def succeed(response: tuple[int, Any, bytes]) -> None:
    """Raise ValueError, which fails the stack's operation, if a service refused a request."""
    if response[0] >= 400:
        raise ValueError(response[2].decode())


def read_routes_of_http_api() -> None:
    """Close a silent gap: the OpenAPI `Body` of SAM's HTTP API is ignored, so the API would have no routes."""
    api = provisioners._RESOURCE_HANDLERS["AWS::ApiGatewayV2::Api"]
    create, update = api["create"], api["update"]

    def add_routes(api_id: str, properties: Properties) -> None:
        apigateway._integrations[api_id] = {}
        apigateway._routes[api_id] = {}
        for path, methods in properties["Body"]["paths"].items():
            for method, operation in methods.items():
                declared = operation["x-amazon-apigateway-integration"]
                integration, _ = provisioners._apigw_v2_integration_create(
                    "",
                    {
                        "ApiId": api_id,
                        "IntegrationType": declared["type"].upper(),
                        "IntegrationMethod": declared["httpMethod"],
                        "IntegrationUri": declared["uri"],
                        "PayloadFormatVersion": declared["payloadFormatVersion"],
                    },
                    "",
                )
                route = {"RouteKey": f"{method.upper()} {path}", "Target": f"integrations/{integration}"}
                provisioners._apigw_v2_route_create("", {"ApiId": api_id, **route}, "")

    def create_with_routes(logical_id: str, properties: Properties, stack_name: str) -> Created:
        api_id, attributes = create(logical_id, properties, stack_name)
        add_routes(api_id, properties)
        return api_id, attributes

    def update_with_routes(api_id: str, old: Properties, new: Properties, *rest: Any) -> Created:
        api_id, attributes = update(api_id, old, new, *rest)
        add_routes(api_id, new)
        return api_id, attributes

    api |= {"create": create_with_routes, "update": update_with_routes}


def let_secret_refer_to_arn() -> None:
    """Close a silent gap: `Ref` of a secret is its ARN in AWS, in outputs and in the role, and its name here."""
    secret = provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]
    create, update, delete = secret["create"], secret["update"], secret["delete"]

    def name_in(arn: str) -> str:
        # The ARN ends with a dash and six random characters.
        return re.sub(r"-\w{6}$", "", arn.rpartition(":")[2])

    def create_with_arn(*arguments: Any) -> Created:
        _, attributes = create(*arguments)
        return attributes["Arn"], attributes

    def update_with_arn(arn: str, *rest: Any) -> Created:
        _, attributes = update(name_in(arn), *rest)
        return attributes["Arn"], attributes

    secret |= {
        "create": create_with_arn,
        "update": update_with_arn,
        "delete": lambda arn, properties: delete(name_in(arn), properties),
    }


def accept_metric_math() -> None:
    """Close a gap that fails a deployment: an alarm on metric math. It is stored and never evaluated."""
    record = provisioners._cw_metric_alarm_record

    def record_with_metrics(name: str, properties: Properties) -> Properties:
        metrics = properties.get("Metrics")
        if not metrics:
            return dict(record(name, properties))
        plain = {key: value for key, value in properties.items() if key != "Metrics"}
        alarm = record(name, plain | {"Namespace": "metric math", "MetricName": "metric math"})
        return {**alarm, "Metrics": metrics}

    provisioners._cw_metric_alarm_record = record_with_metrics


def invoke_functions_asynchronously() -> None:
    """Close two silent gaps in how a rule invokes a function.

    ministack invokes it once, without retries and without its on-failure destination, and it sends to a destination
    without asking IAM. In AWS, Lambda sends with the function's role.
    """

    def invoke(arn: str, payload: str) -> None:
        function, config, name = lambda_svc._get_func_record_for_ref(arn)
        if not function or not config:
            raise LookupError(f"the rule's function {name} does not exist")
        lambda_svc.invoke_async_with_retry({**function, "config": config}, json.loads(payload))

    def send_to_queue(queue_arn: str, function_name: str, event: Any, result: dict[str, Any]) -> None:
        config = lambda_svc._functions[function_name]["config"]
        key = lambda_runtime.execution_credentials(config)
        _, _, _, region, account, queue = queue_arn.split(":")
        endpoint = f"http://127.0.0.1:{os.environ['GATEWAY_PORT']}"
        sqs = boto3.client(
            "sqs",
            region,
            endpoint_url=endpoint,
            aws_access_key_id=key["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=key["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=key["AWS_SESSION_TOKEN"],
        )
        body = json.dumps({"requestPayload": event, "responsePayload": result["body"]})
        try:
            sqs.send_message(QueueUrl=f"{endpoint}/{account}/{queue}", MessageBody=body)
        except ClientError as error:
            sys.stderr.write(f"{function_name} cannot send a failed event to its destination: {error}\n")

    eventbridge._dispatch_to_lambda = invoke
    lambda_svc._route_async_failure = send_to_queue


def deliver_events_to_logs() -> None:
    """Close a gap: a log group as a rule's target gets nothing. ministack logs a warning."""
    invoke_target: Callable[..., None] = eventbridge._invoke_target

    def invoke(target: Properties, event: Properties, rule: Properties, view: Any = None) -> None:
        if ":logs:" not in target["Arn"]:
            invoke_target(target, event, rule, view)
            return
        view = view or eventbridge._pattern_event_view(event)
        line = json.loads(eventbridge._apply_input_transformer(target["InputTransformer"], rule, view))
        group = re.sub(r":\*$", "", target["Arn"].partition(":log-group:")[2])
        stream = {"logGroupName": group, "logStreamName": new_uuid()}
        succeed(cloudwatch_logs._create_log_stream(stream))
        succeed(cloudwatch_logs._put_log_events({**stream, "logEvents": [{"message": line["message"]}]}))

    eventbridge._invoke_target = invoke


def ignore_empty_endpoint() -> None:
    """Close a silent gap: a declared `AWS_ENDPOINT_URL: ""` beats the URL that ministack gives to functions.

    The functions would call the real AWS.
    """
    for module in (lambda_runtime, lambda_svc):
        module._RESERVED_RUNTIME_ENV_VARS.add("AWS_ENDPOINT_URL")


def hide_packages_of_ministack() -> None:
    """Close a silent gap: functions can import ministack's packages, so a missing package goes unnoticed."""
    detect = lambda_runtime._detect_runtime_binary

    def detect_outside_environment(runtime: str) -> tuple[str, str]:
        _, script = detect(runtime)
        return f"{sys.base_prefix}/bin/{runtime}", script

    lambda_runtime._detect_runtime_binary = detect_outside_environment


def add_condition_key() -> None:
    """Close a gap that denies all PutEvents: IAM does not know the condition key `events:source`."""
    request_context = iam_actions.request_tag_context

    def context_with_source(service: str, action: str, body: bytes, parameters: Any) -> dict[str, Any]:
        context: dict[str, Any] = request_context(service, action, body, parameters)
        if action == "events:PutEvents":
            [source] = {entry.get("Source") for entry in json.loads(body)["Entries"]}
            context["events:source"] = source
        return context

    iam_actions.request_tag_context = context_with_source


def count_loopback_as_tls() -> None:
    """Close a gap that denies all requests to a bucket whose policy requires TLS: functions call this AWS over HTTP."""
    main_module: Any = sys.modules["ministack.app"]
    main_module.pin_request_origin = lambda address, _: iam_evaluator.pin_request_origin(address, secure_transport=True)


def share_extracted_code() -> None:
    """Make instances start fast: extract code once, and let all instances use its bytecode.

    ministack ends an instance after each error, so the tests of failures start many.
    """
    lock = threading.Lock()

    class SharedZip(zipfile.ZipFile):
        def extractall(self, path: Any = None, members: Any = None, pwd: bytes | None = None) -> None:
            contents = sorted((entry.filename, entry.CRC) for entry in self.infolist())
            shared = Path(os.environ["TMPDIR"], sha256(repr(contents).encode()).hexdigest())
            with lock:
                if not shared.exists():
                    super().extractall(shared, members, pwd)
            Path(path).rmdir()
            Path(path).symlink_to(shared)

    lambda_runtime.zipfile = SimpleNamespace(**{**vars(zipfile), "ZipFile": SharedZip})


def fail_task_of_failed_function() -> None:
    """Close a silent gap: a task that waits for its token hides the error of its function, and waits for its time-out.

    ministack catches the error by its class, around the call of the function.
    """

    class CallError(Exception):
        def __init__(self, error: Exception) -> None:
            self.error = error

    call, invoke_with_callback = stepfunctions._call_lambda, stepfunctions._invoke_with_callback

    def invoke(resource: str, input_data: Any, token: str, state: Properties) -> Any:
        def call_visibly(function: str, event: Any) -> Any:
            try:
                return call(function, event)
            except stepfunctions._ExecutionError as error:
                raise CallError(error) from None

        try:
            scope = {**vars(stepfunctions), "_call_lambda": call_visibly}
            return FunctionType(invoke_with_callback.__code__, scope)(resource, input_data, token, state)
        except CallError as error:
            stepfunctions._task_tokens.pop(token, None)
            raise error.error from None

    stepfunctions._invoke_with_callback = invoke


def connect_task_tokens_to_executions() -> None:
    """Close two gaps: the token of a stopped execution stays valid, and IAM denies all SendTask requests.

    IAM does not know which workflow gave the token.
    """
    contexts: dict[str, dict[str, Any]] = {}
    execute_task, stop = stepfunctions._execute_task, stepfunctions._stop_execution
    extract_resource_arn = iam_actions.extract_resource_arn

    def execute(state: Properties, raw_input: Any, execution: dict[str, Any], context: dict[str, Any]) -> Any:
        contexts[execution["executionArn"]] = context
        return execute_task(state, raw_input, execution, context)

    def stop_and_end_task(data: dict[str, Any]) -> Any:
        task = stepfunctions._task_tokens.pop(token_of(contexts.get(data["executionArn"], {})), None)
        answer = stop(data)
        if task:
            task["event"].set()
        return answer

    def resource_arn(service: str, method: str, path: str, headers: Any, body: bytes, *rest: Any) -> str:
        if service == "states" and b"taskToken" in body:
            token = json.loads(body)["taskToken"]
            workflows = [context["StateMachine"]["Id"] for context in contexts.values() if token_of(context) == token]
            return workflows[0] if workflows else "*"
        return str(extract_resource_arn(service, method, path, headers, body, *rest))

    def token_of(context: dict[str, Any]) -> str:
        return str(context.get("Task", {}).get("Token"))

    stepfunctions._execute_task = execute
    stepfunctions._stop_execution = stop_and_end_task
    iam_actions.extract_resource_arn = resource_arn


if __name__ == "__main__":
    main()
