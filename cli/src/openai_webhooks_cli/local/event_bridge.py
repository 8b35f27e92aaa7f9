"""EventBridge in front of moto: what happens to an event that is put on a bus, as AWS does it.

moto keeps the buses, rules and archives, and answers all other calls. Its own matching differs from AWS's, and it can
neither transform an event for every target nor call functions.
"""

import io
import json
import re
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from moto.backends import get_backend
from werkzeug import Request, Response
from werkzeug.test import run_wsgi_app

from openai_webhooks_cli.event_pattern import EventPattern, InvalidPattern, Mismatch
from openai_webhooks_cli.local.function_pool import short_name
from openai_webhooks_cli.local.input_transformer import InvalidInput, target_input
from openai_webhooks_cli.local.sam_template import ACCOUNT, REGION

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Event = Mapping[str, Any]
"""An event as the bus passes it to targets."""

_INVOCATION = re.compile(r"/2015-03-31/functions/([^/]+)/invocations")
NOT_RUN = "not run here"
_MAX_ENTRIES = 10
_ARCHIVE_RULE = "Events-Archive-"  # with the name of the archive


class Invocation(NamedTuple):
    """An asynchronous invocation of a function."""

    function: str
    input: Any
    event: Event
    rule: str = ""
    """The rule's name. Empty if no rule invokes the function."""


class Verdict(NamedTuple):
    """What a rule does with an event."""

    rule: str
    targets: tuple[str, ...]
    """For people."""
    is_enabled: bool
    mismatch: Mismatch | None

    @property
    def passes(self) -> bool:
        """Whether the rule passes the event to its targets."""
        return self.is_enabled and not self.mismatch

    @property
    def reason(self) -> str:
        """Why the rule does not pass the event on, for people who see the payload anyway. Empty if it does."""
        if not self.is_enabled:
            return "the rule is disabled"
        return self.mismatch.text(with_payload=True) if self.mismatch else ""


class EventBridge:
    """A WSGI application in front of moto's.

    `on_event` is called with each bus and event, and `on_problem` with what goes wrong after PutEvents has succeeded.
    `invoke` is called for the `functions` with these names, and does not wait for them. All can be set at any time.
    """

    def __init__(self, moto: "WSGIApplication") -> None:
        self._moto = moto
        self._archived: dict[str, list[Event]] = defaultdict(list)  # by the archive's id
        self.on_event: Callable[[str, Event], object] = lambda _bus, _event: None
        self.on_problem: Callable[[str], object] = lambda _: None
        self.functions: frozenset[str] = frozenset()
        self.invoke: Callable[[Invocation], object] = lambda _: None

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        operation = environ.get("HTTP_X_AMZ_TARGET", "").removeprefix("AWSEvents.")
        answers = {
            "PutEvents": self._put_events,
            "PutRule": self._put_rule,
            "StartReplay": self._start_replay,
            "TestEventPattern": self._test_event_pattern,
        }
        if operation not in answers:
            invocation = _INVOCATION.fullmatch(environ["PATH_INFO"])
            if invocation and (name := function_name(invocation[1])) in self.functions:
                return self._invoke(name, Request(environ))(environ, start_response)
            return self._moto_or_error(environ, start_response)
        parameters = Request(environ).get_json(force=True)
        try:
            response = answers[operation](environ, parameters)
        except InvalidPattern as error:
            response = _error("InvalidEventPatternException", f"Event pattern is not valid. Reason: {error}")
        return response(environ, start_response)

    def rules(self, bus: str) -> list[Any]:
        """Return the rules of a bus that have an event pattern, by name. They are moto's objects."""
        rules = _events().event_buses[bus].rules.values()
        return sorted((rule for rule in rules if rule.event_pattern.dump()), key=lambda rule: rule.name)

    def all_rules(self) -> list[Any]:
        """Return the rules of all buses."""
        return [rule for bus in list(_events().event_buses) for rule in self.rules(bus)]

    def verdict(self, rule: Any, event: Event) -> Verdict:
        """Return what a rule does with an event."""
        targets = tuple(self.name(target) for target in rule.targets)
        return Verdict(rule.name, targets, _is_enabled(rule), _pattern(rule).mismatch(event))

    def name(self, target: Mapping[str, Any]) -> str:
        """Return the name of a target, for people. It says if the target does not run here."""
        match target["Arn"].split(":")[2:]:
            case ["lambda", _, _, _, name, *_]:
                return short_name(name) if name in self.functions else f"{short_name(name)} (lambda, {NOT_RUN})"
            case ["sqs", _, _, name]:
                return f"{name} (SQS)"
            case ["logs", _, _, _, name, *_]:
                return f"{name} (logs)"
            case [service, *_, name]:
                return f"{name.rpartition('/')[2]} ({service}, {NOT_RUN})"
        return str(target["Arn"])

    def _put_events(self, _: "WSGIEnvironment", parameters: dict[str, Any]) -> Response:
        if len(parameters["Entries"]) > _MAX_ENTRIES:
            return _error("ValidationException", f"PutEvents takes at most {_MAX_ENTRIES} entries.")
        results = [self._put_event(entry) for entry in parameters["Entries"]]
        failed = sum("ErrorCode" in result for result in results)
        return _answer({"FailedEntryCount": failed, "Entries": results})

    def _put_event(self, entry: Mapping[str, Any]) -> dict[str, str]:
        for name in ("Source", "DetailType", "Detail"):
            if not entry.get(name):
                message = f"Parameter {name} is not valid. Reason: {name} is a required argument."
                return {"ErrorCode": "InvalidArgument", "ErrorMessage": message}
        try:
            detail = json.loads(entry["Detail"])
        except (ValueError, RecursionError):
            detail = None
        if not isinstance(detail, dict):
            return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
        event = {
            "version": "0",
            "id": str(uuid.uuid4()),
            "detail-type": entry["DetailType"],
            "source": entry["Source"],
            "account": ACCOUNT,
            "time": iso_time(entry.get("Time", time.time())),
            "region": REGION,
            "resources": entry.get("Resources", []),
            "detail": detail,
        }
        bus = entry.get("EventBusName", "default").rpartition("/")[2]
        if bus in _events().event_buses:
            self.on_event(bus, event)
            self._pass_on(self.rules(bus), event)
        else:
            self.on_problem(f"No bus has the name {bus}. AWS accepts its events, and drops them.")
        return {"EventId": event["id"]}

    def _put_rule(self, environ: "WSGIEnvironment", parameters: dict[str, Any]) -> Response:
        if "EventPattern" in parameters:
            EventPattern(parameters["EventPattern"])
        return self._ask_moto(environ, parameters)

    def _start_replay(self, environ: "WSGIEnvironment", parameters: dict[str, Any]) -> Response:
        answer = self._ask_moto(environ, parameters)
        if answer.status_code == 200:
            destination, first, end = (parameters[name] for name in ("Destination", "EventStartTime", "EventEndTime"))
            rules = self.rules(destination["Arn"].rpartition("/")[2])
            chosen = [rule for rule in rules if rule.arn in destination.get("FilterArns", [rule.arn])]
            for event in list(self._archived[_archive(parameters["EventSourceArn"].rpartition("/")[2])]):
                if iso_time(first) <= event["time"] < iso_time(end):
                    self._pass_on(chosen, {**event, "id": str(uuid.uuid4()), "replay-name": parameters["ReplayName"]})
        return answer

    def _test_event_pattern(self, _: "WSGIEnvironment", parameters: dict[str, Any]) -> Response:
        pattern = EventPattern(parameters["EventPattern"])
        return _answer({"Result": pattern.matches(json.loads(parameters["Event"]))})

    def _invoke(self, function: str, request: Request) -> Response:
        """Answer Lambda's Invoke."""
        if request.headers.get("X-Amz-Invocation-Type") != "Event":
            return _error(
                "InvalidRequestContentException", "Only asynchronous invocations run here: InvocationType=Event."
            )
        payload = request.get_json(force=True)
        is_event = isinstance(payload, dict) and isinstance(payload.get("detail"), dict) and "id" in payload
        self.invoke(Invocation(function, payload, payload if is_event else {"id": "", "detail": {}}))
        return Response(status=202)

    def _moto_or_error(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        try:
            return self._moto(environ, start_response)
        except Exception as error:  # noqa: BLE001  # moto can raise anything for what it cannot do
            message = f"moto cannot do this: {type(error).__name__}: {error}"
            return _error("InternalFailure", message)(environ, start_response)

    def _ask_moto(self, environ: "WSGIEnvironment", parameters: dict[str, Any]) -> Response:
        body = json.dumps(parameters).encode()
        own = {**environ, "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        own = {name: value for name, value in own.items() if not name.startswith("werkzeug.")}
        content, status, headers = run_wsgi_app(self._moto, own)
        return Response(content, status, headers)

    def _pass_on(self, rules: Iterable[Any], event: Event) -> None:
        for rule in rules:
            if _is_enabled(rule) and _pattern(rule).matches(event):
                for target in list(rule.targets):
                    try:
                        self._send(rule, target, event)
                    except Exception as error:  # noqa: BLE001  # moto's, for example of a queue that does not exist
                        self.on_problem(f"{rule.name} cannot invoke {self.name(target)}: {error}")

    def _send(self, rule: Any, target: Mapping[str, Any], event: Event) -> None:
        """Pass an event to a target. Those that nothing runs here are named when their stack starts."""
        arn = target["Arn"].split(":")
        if rule.name.startswith(_ARCHIVE_RULE) and rule.managed_by:
            self._archived[_archive(rule.name.removeprefix(_ARCHIVE_RULE))].append(event)
            return
        text = target_input(target, event, rule_name=rule.name, rule_arn=rule.arn, ingestion_time=iso_time(time.time()))
        match arn[2]:
            case "lambda":
                try:
                    value = json.loads(text)
                except ValueError:
                    raise InvalidInput("its InputTransformer makes something that is not JSON") from None
                if arn[6] in self.functions:
                    self.invoke(Invocation(arn[6], value, event, rule.name))
            case "sqs":
                group = target.get("SqsParameters", {}).get("MessageGroupId")
                get_backend("sqs")[ACCOUNT][REGION].send_message(arn[5], message_body=text, group_id=group)
            case "logs":
                logs, stream = get_backend("logs")[ACCOUNT][REGION], str(uuid.uuid4())
                logs.create_log_stream(arn[6], stream)
                logs.put_log_events(arn[6], stream, [{"timestamp": int(time.time() * 1000), "message": text}])


def function_name(identifier: str) -> str:
    """Return the name of a function from its ARN or its name, with or without an alias."""
    return identifier.split(":")[6 if identifier.startswith("arn:") else 0]


def _events() -> Any:
    return get_backend("events")[ACCOUNT][REGION]


def _archive(name: str) -> str:
    return str(_events().archives[name].uuid)


@lru_cache(1000)
def _compiled(pattern: str) -> EventPattern:
    return EventPattern(pattern)


def _pattern(rule: Any) -> EventPattern:
    return _compiled(rule.event_pattern.dump())


def _is_enabled(rule: Any) -> bool:
    return bool(rule.state.startswith("ENABLED"))


def iso_time(seconds: float) -> str:
    """Return a time, given in Unix seconds, as EventBridge writes it."""
    return datetime.fromtimestamp(float(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _answer(value: Any, status: int = 200) -> Response:
    return Response(json.dumps(value), status, content_type="application/x-amz-json-1.1")


def _error(code: str, message: str) -> Response:
    return _answer({"__type": code, "message": message}, 400)
