"""The checks of `openai-webhooks doctor`.

A check is a function that yields findings. The codes of findings are stable. A code with `E_` says that events are lost
or delayed. A code with `W_` says what can become a problem.
"""

import re
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Final, NamedTuple

import requests
from botocore.exceptions import ClientError

from openai_webhooks import CATALOG
from openai_webhooks_cli.aws import targets
from openai_webhooks_cli.aws.activity import (
    BLOCKING,
    NOTED,
    PERIOD,
    REFUSED,
    Counts,
    delivery_text,
    is_watched,
    outcomes_text,
    read_alarms,
    read_counts,
    read_deliveries,
    require_measured,
    search_log,
    unconfirmed_email,
)
from openai_webhooks_cli.aws.archive import read_archive
from openai_webhooks_cli.aws.dead_letters import oldest_ages, read_queues
from openai_webhooks_cli.aws.rules import Rule, arrival_rule, enable_command, match_types, read_rules
from openai_webhooks_cli.aws.signing_secret import SigningSecret, is_placeholder, matches_hint, problems, values
from openai_webhooks_cli.aws.stack import Stack, receivers
from openai_webhooks_cli.aws.tap import find_leftovers
from openai_webhooks_cli.openai_platform.endpoints import Endpoint, connect, moved, of_url
from openai_webhooks_cli.shell.background import start
from openai_webhooks_cli.shell.errors import CannotRun
from openai_webhooks_cli.shell.next_command import aws, make, openai_webhooks
from openai_webhooks_cli.shell.printable import printable
from openai_webhooks_cli.shell.times import DAY, age

NO_ENDPOINT = "no endpoint has this stack's URL"
_THREADS = 8
_MAX_SKEW = 30  # seconds
_METRIC_DELAY = 900  # seconds after which CloudWatch knows a metric
_INGRESS_TIMEOUT = 10  # seconds
_REPEATED = 3
"""Refusals of one delivery. A stranger sends a forgery once. OpenAI sends what was refused again."""
_NOTED_CODES = dict(zip(NOTED, ("W_SCHEMA_DRIFT", "W_DEDUPLICATION", "W_SECRET_MALFORMED"), strict=True))
_CREATE = ("endpoint", "create")
_ROTATE = ("endpoint", "rotate")
_UPDATE = ("endpoint", "update")


class Finding(NamedTuple):
    """What a check found."""

    text: str
    code: str = ""
    """`E_...` for a failure, `W_...` for a warning, empty if all is well."""
    fix: str = ""
    """The command that fixes the problem, or shows more of it."""


class NotChecked(Exception):
    """The check does not apply. The text says why."""


class Visit:
    """A stack, and what several checks read of it. Each thing is read once, in a thread."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        # Each one uses only those above it. Without OPENAI_API_KEY, the first three raise CannotRun.
        self.api = start(connect)
        self.all_endpoints = start(lambda: self.api.result().endpoints())
        self.endpoints = start(lambda: of_url(self.all_endpoints.result(), stack.outputs["WebhookUrl"]))
        self.rules = start(lambda: read_rules(stack))
        self.counts = start(self._read_counts)
        self.handlers = start(self._read_handlers)
        """The enabled rules that match each known or registered type."""

    def known_endpoints(self) -> list[Endpoint]:
        """Return the endpoints with the stack's URL, or none if they are unknown."""
        try:
            return self.endpoints.result()
        except CannotRun:
            return []

    def _read_counts(self) -> Counts:
        try:
            names = [rule.name for rule in self.rules.result()]
        except ClientError:
            names = []  # the checks that need the rules say why
        return read_counts(self.stack, names)

    def _read_handlers(self) -> dict[str, list[Rule]]:
        registered = _registered(self.known_endpoints())
        enabled = [rule for rule in self.rules.result() if rule.enabled and rule.targets]
        return match_types(self.stack, enabled, [*CATALOG, *sorted(registered - CATALOG.keys())])


def _credentials(visit: Visit) -> Iterator[Finding]:
    arn = visit.stack.client("sts").get_caller_identity()["Arn"]
    expiry = getattr(visit.stack.session.credentials, "_expiry_time", None)  # botocore has no public name for it
    yield Finding(printable(arn) + (f", {age(expiry.timestamp() - time.time())} left" if expiry else ""))


def _stack(visit: Visit) -> Iterator[Finding]:
    stack, here = visit.stack, version("openai-webhooks-cli")
    deployed = stack.outputs.get("TemplateVersion", "unknown")
    if stack.status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE") or "_IN_PROGRESS" in stack.status:
        yield Finding(f"{stack.status}, template {deployed}")
    else:
        # After UPDATE_ROLLBACK_COMPLETE, the stack is as it was before the change.
        code = "W_STACK" if stack.status == "UPDATE_ROLLBACK_COMPLETE" else "E_STACK"
        events = aws("cloudformation", "describe-stack-events", "--stack-name", stack.name, region=stack.region)
        yield Finding(f"The last change of the stack failed: {stack.status}.", code, events)
    if deployed != here:
        # With an older command, `make deploy` would deploy an older template.
        fix = make("deploy") if _numbers(deployed) < _numbers(here) else ""
        text = f"The template's version is {deployed}. This command's is {here}."
        yield Finding(text if fix else f"{text} Update the command.", "W_VERSION", fix)


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


def _clock(visit: Visit) -> Iterator[Finding]:
    ahead = -visit.stack.clock_skew
    if abs(ahead) <= _MAX_SKEW:
        yield Finding(f"{ahead:+.1f} s from AWS's")
    else:
        yield Finding(f"This machine's clock is {ahead:+.0f} s from AWS's.", "W_CLOCK", "timedatectl set-ntp true")


def _ingress(visit: Visit) -> Iterator[Finding]:
    """Send an unsigned delivery. The receiver's own 401 proves name, certificate, route, alias and function."""
    stack, url = visit.stack, visit.stack.outputs["WebhookUrl"]
    require_measured(stack, None)
    try:
        answer = requests.post(url, data=b"{}", timeout=_INGRESS_TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        try_it = f"curl -i -X POST {shlex.quote(url)}"
        yield Finding(f"No answer from {url} ({type(error).__name__}).", "E_INGRESS", try_it)
        return
    if answer.status_code == 401 and '"Unverified"' in answer.text:
        yield Finding("an unsigned delivery is refused")
        return
    text = f"{url} answers an unsigned delivery with {answer.status_code}, and not with the receiver's 401."
    routes = aws("apigatewayv2", "get-routes", "--api-id", stack.physical_id("Api") or "", region=stack.region)
    yield Finding(text, "E_INGRESS", routes if answer.status_code in (403, 404) else _tail(stack, "ERROR"))


def _signing_secret(visit: Visit) -> Iterator[Finding]:
    secret = SigningSecret(visit.stack)
    try:
        text = secret.read() or ""
    except ClientError as error:
        if not re.search("marked (for deletion|deleted)", str(error)):
            raise
        restore = aws("secretsmanager", "restore-secret", "--secret-id", secret.arn, region=visit.stack.region)
        yield Finding("The signing secret is being deleted.", "E_SECRET_DELETED", restore)
        return
    malformed, valid = problems(text), values(text)
    # OpenAI shows the secret of an endpoint only once, so an endpoint that exists needs a new secret.
    renew = openai_webhooks(*(_ROTATE if visit.known_endpoints() else _CREATE))
    if is_placeholder(text) or not text.strip():
        yield Finding("No signing secret is stored.", "E_SECRET_PLACEHOLDER", renew)
    elif not valid:
        yield Finding("; ".join(malformed), "E_SECRET_MALFORMED", renew)
    else:
        if malformed:
            yield Finding(f"{'; '.join(malformed)}. The other values work.", "W_SECRET_MALFORMED", renew)
        yield _compare_with_endpoint(visit, secret, valid)
        yield from _unknown_secrets(visit, valid)


def _unknown_secrets(visit: Visit, valid: Sequence[str]) -> Iterator[Finding]:
    """Find secrets that are accepted although no endpoint has them. One with a name can be that of another project."""
    try:
        hints = [endpoint.secret_hint for endpoint in visit.all_endpoints.result()]
    except CannotRun:
        return
    unnamed = [value for value in valid if value.startswith("whsec_")]
    unknown = [value for value in unnamed if all(matches_hint(value, hint) is False for hint in hints)]
    if hints and unknown and len(unknown) < len(valid):
        text = f"{len(unknown)} of {len(valid)} stored secrets fit no endpoint of this project, and are accepted."
        yield Finding(text, "W_SECRET_UNKNOWN", openai_webhooks(*_ROTATE, "--replace-secret"))


def _compare_with_endpoint(visit: Visit, secret: SigningSecret, valid: Sequence[str]) -> Finding:
    stored_at = secret.stored_at()
    stored = stored_at.timestamp() if stored_at else 0.0
    text = f"stored {age(visit.stack.now() - stored)} ago"
    endpoints = visit.known_endpoints()
    if len(endpoints) != 1:  # the check of the endpoint says why
        return Finding(f"{text}; not compared with an endpoint")
    [endpoint] = endpoints
    answers = {matches_hint(value, endpoint.secret_hint) for value in valid}
    if True in answers:
        return Finding(f"{text}; fits OpenAI's hint")
    if answers == {False}:
        return Finding(f"{text}; OpenAI signs with another secret.", "E_SECRET_MISMATCH", openai_webhooks(*_ROTATE))
    return Finding(f"{text}; OpenAI gives no hint to compare with")


def _endpoint(visit: Visit) -> Iterator[Finding]:
    here, url = visit.endpoints.result(), visit.stack.outputs["WebhookUrl"]
    # If the stack has an endpoint, an endpoint elsewhere is that of another stack.
    elsewhere = [] if here else moved(visit.all_endpoints.result(), visit.stack.name, receivers(visit.stack.session))
    for endpoint in elsewhere:
        text = f"{printable(endpoint.id)} delivers to {printable(endpoint.url)}, not to {url}."
        yield Finding(text, "E_URL", openai_webhooks(*_UPDATE, "--url", "auto"))
    if len(here) > 1:
        text = f"Each event arrives {len(here)} times: {_join(endpoint.id for endpoint in here)} have this URL."
        yield Finding(text, "E_ENDPOINT_TWICE", openai_webhooks("endpoint", "list"))
    elif here:
        yield Finding(f"{printable(here[0].id)} delivers {len(here[0].event_types)} types here")
    elif not elsewhere:
        yield Finding(f"No endpoint has the URL {url}.", "E_ENDPOINT", openai_webhooks(*_CREATE))


def _types(visit: Visit) -> Iterator[Finding]:
    endpoints = visit.endpoints.result()
    if not endpoints:
        raise NotChecked(NO_ENDPOINT)
    registered = _registered(endpoints)
    if not registered:
        yield Finding(
            "No type is registered, so OpenAI sends nothing.", "E_ENDPOINT", openai_webhooks(*_UPDATE, "--all")
        )
        return
    handlers, available = visit.handlers.result(), set(visit.api.result().event_types())
    unhandled = sorted(event_type for event_type in registered if not handlers[event_type])
    missing = sorted(event_type for event_type in available - registered if handlers.get(event_type))
    if unhandled:
        text = f"{len(unhandled)} registered, but no rule matches them: {_some(unhandled)}. Nobody gets their events."
        yield Finding(text, "W_UNHANDLED", openai_webhooks("rules"))
    if missing:
        added = [word for event_type in missing for word in ("--add", event_type)]
        text = f"{len(missing)} matched by a rule, but not registered: {_some(missing)}. OpenAI does not send them."
        yield Finding(text, "W_UNREGISTERED", openai_webhooks(*_UPDATE, *added))
    if not unhandled and not missing:
        yield Finding(f"{len(registered)} registered, each matched by a rule")


def _rules(visit: Visit) -> Iterator[Finding]:
    rules = visit.rules.result()
    used = {rule.name for handlers in visit.handlers.result().values() for rule in handlers}
    counts = visit.counts.result()
    enabled = sum(rule.enabled for rule in rules)
    if enabled:
        yield Finding(f"{enabled} of {len(rules)} enabled")
    else:
        text = "No rule is enabled, so events reach no subscriber."
        yield Finding(text, "W_RULE_NOTHING", openai_webhooks("rules"))
    if "ReceiverFunction" in visit.stack.resources:  # the embedded AWS has no permissions
        with ThreadPoolExecutor(_THREADS) as threads:
            for problems in threads.map(lambda rule: list(targets.problems(visit.stack, rule)), rules):
                for text, fix, loses_events in problems:
                    yield Finding(text, "E_TARGET" if loses_events else "W_NO_DEAD_LETTERS", fix)
    for rule in rules:
        failed = counts.total("FailedInvocations", rule.name)
        yield from _rule(visit.stack, rule, is_used=rule.name in used, failed=failed)


def _rule(stack: Stack, rule: Rule, *, is_used: bool, failed: int) -> Iterator[Finding]:
    bus = ("--event-bus-name", stack.bus)
    show_targets = aws("events", "list-targets-by-rule", "--rule", rule.name, *bus, region=stack.region)
    if not rule.enabled:
        yield Finding(f"{rule.name} is disabled.", "W_RULE_DISABLED", enable_command(stack, rule.name))
    elif not is_used:
        show = aws("events", "describe-rule", "--name", rule.name, *bus, region=stack.region)
        yield Finding(f"{rule.name} matches no sample of a known type.", "W_RULE_NOTHING", show)
    if not all(target.dead_letter_arn for target in rule.targets):
        text = f"{rule.name} has a target without a dead-letter queue. Events that it never accepts are lost."
        yield Finding(text, "W_NO_DEAD_LETTERS", show_targets)
    if failed:
        yield Finding(f"{rule.name}: {failed} failed invocations in 24 h.", "W_FAILED_INVOCATIONS", show_targets)


def _dead_letters(visit: Visit) -> Iterator[Finding]:
    queues = read_queues(visit.stack, visit.rules.result())
    ages = oldest_ages(visit.stack, queues)
    for queue in queues:
        if queue.depth is None:
            text = f"{queue.name} cannot be read ({queue.error})."
            yield Finding(text, "W_DEAD_LETTERS", openai_webhooks("dead-letters", "list"))
        elif queue.depth:
            oldest = f", the oldest {age(ages[queue.arn])} old" if queue.arn in ages else ""
            show = openai_webhooks("dead-letters", "show")
            yield Finding(f"{queue.depth} in {queue.name}{oldest}", "W_DEAD_LETTERS", show)
    if all(queue.depth == 0 for queue in queues):
        yield Finding(f"none in {len(queues)} queues")
    if "ReceiverFunction" not in visit.stack.resources:
        return  # the embedded AWS has no alarms
    for queue in queues:
        # Another account has its own alarms.
        if queue.arn.split(":")[4] == visit.stack.account and not is_watched(visit.stack, queue.name):
            first = "" if visit.stack.outputs.get("AlarmTopicArn") else " First, set AlarmEmail or AlarmTopicArn."
            text = f"No alarm that notifies somebody watches {queue.name}.{first}"
            yield Finding(text, "W_NO_ALARM", _watch(visit.stack, queue.name))


def _watch(stack: Stack, queue: str) -> str:
    """Return the command that creates an alarm for a dead-letter queue, or that first says whom alarms notify."""
    topic = stack.outputs.get("AlarmTopicArn")
    if not topic:
        return make("deploy", "--guided")
    metric = ("--namespace", "AWS/SQS", "--metric-name", "ApproximateNumberOfMessagesVisible")
    alarm = ("--dimensions", f"Name=QueueName,Value={queue}", "--statistic", "Maximum", "--period", "300")
    fires = ("--evaluation-periods", "1", "--threshold", "0", "--comparison-operator", "GreaterThanThreshold")
    otherwise = ("--treat-missing-data", "notBreaching")
    name = ("--alarm-name", f"{queue}-not-empty", "--alarm-actions", topic)
    return aws("cloudwatch", "put-metric-alarm", *name, *metric, *alarm, *fires, *otherwise, region=stack.region)


def _deliveries(visit: Visit) -> Iterator[Finding]:
    stack, counts, lines = visit.stack, visit.counts.result(), read_deliveries(visit.stack)
    last = lines[-1] if lines else None
    require_measured(stack, last)
    yield Finding(f"{delivery_text(last, stack.now())}; 24 h: {outcomes_text(counts)}")
    # CloudWatch knows a metric minutes late, so the log decides where it has a line.
    newest = {outcome: counts.newest(outcome) for outcome in ("Published", *REFUSED, *NOTED)}
    newest |= {str(line.fields["outcome"]): line.time for line in lines}
    for metric in filter(newest.get, (*REFUSED, *NOTED)):
        lasts = newest[metric] >= newest["Published"]
        if code := _code(stack, metric, lasts=lasts, since=newest["Published"]):
            reason = _newest_reason(stack, metric, newest[metric])
            yield Finding(f"{metric}: {counts.total(metric)} in 24 h{reason}", code, _tail(stack, metric))


def _code(stack: Stack, metric: str, *, lasts: bool, since: float) -> str:
    """Return the code of a refusal or a note. Empty for what is over, and for single forgeries."""
    match metric:
        case "Malformed" | "TooLarge":
            return "W_REFUSED"  # the event was signed, and is lost
        case "SignatureMismatch" if lasts:
            lines, _ = search_log(stack, metric, since=max(since, stack.now() - DAY), until=stack.now())
            times = Counter(line.fields.get("webhook_id") for line in lines)
            return "E_REFUSED" if max(times.values(), default=0) >= _REPEATED else ""
        case _ if metric in BLOCKING and lasts:
            return "E_REFUSED"
    return _NOTED_CODES.get(metric, "")


def _newest_reason(stack: Stack, metric: str, since: float) -> str:
    # A line of the log has the outcome, or `drift`. The other two metrics have a line with the level ERROR.
    word, field = {
        "SchemaDrift": ("drift", "drift"),
        "DeduplicationUnavailable": ("ERROR", "reason"),
        "SecretMalformed": ("ERROR", "reason"),
    }.get(metric, (metric, "reason"))
    lines, _ = search_log(stack, word, since=since, until=since + 2 * PERIOD)
    reasons = [str(line.fields[field]) for line in lines if field in line.fields]
    return f"; newest: {printable(reasons[-1])}" if reasons else ""


def _arrivals(visit: Visit) -> Iterator[Finding]:
    stack, counts, name = visit.stack, visit.counts.result(), arrival_rule(visit.stack)
    if stack.client("events").describe_rule(Name=name, EventBusName=stack.bus)["State"] == "DISABLED":
        text = f"{name} is disabled, so the arrival log gets no events."
        yield Finding(text, "W_RULE_DISABLED", enable_command(stack, name))
        return
    arrived = counts.newest("MatchedEvents")
    # An event can be counted as published one period after its arrival.
    lost = counts.total("Published", since=arrived + 2 * PERIOD if arrived else 0, until=stack.now() - _METRIC_DELAY)
    if lost:
        text = f"{lost} events were published, and none of them arrived on the bus {stack.bus}."
        yield Finding(
            text, "E_NOT_ARRIVED", aws("events", "describe-event-bus", "--name", stack.bus, region=stack.region)
        )
    else:
        require_measured(stack, arrived)
        yield Finding(f"{counts.total('MatchedEvents'):,} on the bus in 24 h")


def _log(visit: Visit) -> Iterator[Finding]:
    now = visit.stack.now()
    found, complete = search_log(visit.stack, "ERROR", since=now - DAY, until=now)
    errors = [line.fields for line in found if line.fields.get("level") == "ERROR"]
    require_measured(visit.stack, errors)
    if errors:
        parts = (errors[-1].get(field) for field in ("message", "errorMessage", "reason"))
        newest = printable(": ".join(str(part) for part in parts if part))
        count = f"{'' if complete else 'at least '}{len(errors)}"
        yield Finding(f"Errors in 24 h: {count}; newest: {newest}", "W_ERRORS", _tail(visit.stack, "ERROR"))
    else:
        yield Finding("no errors in 24 h" if complete else "no errors in the part that was searched in time")


def _alarms(visit: Visit) -> Iterator[Finding]:
    alarms = read_alarms(visit.stack)
    if visit.stack.parameters.get("Alarms") == "disabled":
        deploy = make("deploy", "--parameter-overrides", "Alarms=enabled")
        yield Finding("Alarms=disabled, so nobody is notified when events are lost.", "W_ALARMS_OFF", deploy)
        return
    if not alarms:
        raise NotChecked("this AWS has no alarms")
    firing = [alarm for alarm in alarms if alarm.state in ("ALARM", "MISSING")]
    for alarm in firing:
        show = aws("cloudwatch", "describe-alarms", "--alarm-names", alarm.name, region=visit.stack.region)
        code = "E_ALARM" if alarm.state == "ALARM" else "W_ALARM"
        yield Finding(f"{alarm.logical_id}: {alarm.state}", code, show)
    if not firing:
        yield Finding(f"none of {len(alarms)} fires")
    if silent := [alarm.logical_id for alarm in alarms if not alarm.notifies]:
        text = f"No action: {_join(silent)}. Nobody is notified. Set the parameter AlarmEmail or AlarmTopicArn."
        yield Finding(text, "W_ALARM_ACTION", make("deploy", "--guided"))
    if address := unconfirmed_email(visit.stack):
        topic = visit.stack.physical_id("AlarmTopic") or ""
        again = aws(
            *("sns", "subscribe", "--topic-arn", topic, "--protocol", "email", "--notification-endpoint", address),
            region=visit.stack.region,
        )
        text = f"{address} has not confirmed its subscription, so nobody is notified. For another mail with the link:"
        yield Finding(text, "W_ALARM_PENDING", again)


def _archive(visit: Visit) -> Iterator[Finding]:
    archive = read_archive(visit.stack)
    if archive and archive.state == "ENABLED":
        yield Finding(f"{archive.retention_days} d")
    elif archive or visit.stack.parameters.get("ArchiveRetentionDays") == "0":
        text = f"The archive's state is {archive.state}." if archive else "Events are not archived."
        deploy = make("deploy", "--parameter-overrides", "ArchiveRetentionDays=14")
        yield Finding(f"{text} You cannot replay events.", "W_ARCHIVE", deploy)
    else:
        raise NotChecked("this AWS has no archive")


def _leftovers(visit: Visit) -> Iterator[Finding]:
    leftovers, now = find_leftovers(visit.stack), visit.stack.now()
    if ended := [leftover.name for leftover in leftovers if leftover.expires_at < now]:
        yield Finding(f"Ended sessions left {_join(ended)}.", "W_LEFTOVERS", openai_webhooks("listen", "--clean"))
    else:
        yield Finding(f"none; {len(leftovers)} sessions run")


def _registered(endpoints: Iterable[Endpoint]) -> set[str]:
    return {event_type for endpoint in endpoints for event_type in endpoint.event_types}


def _tail(stack: Stack, word: str) -> str:
    """Return the command that shows the lines of the receiver's log with a word."""
    group = stack.physical_id("ReceiverLog") or ""
    return aws("logs", "tail", group, "--since", "24h", "--filter-pattern", word, region=stack.region)


def _some(types: Sequence[str]) -> str:
    """Return the first types. The commands show the others."""
    return _join(types[:3]) + (f" and {len(types) - 3} more" if len(types) > 3 else "")


def _join(texts: Iterable[str]) -> str:
    return ", ".join(map(printable, texts))


CHECKS: Final[Mapping[str, Callable[[Visit], Iterator[Finding]]]] = {
    "credentials": _credentials,
    "stack": _stack,
    "clock": _clock,
    "ingress": _ingress,
    "signing secret": _signing_secret,
    "endpoint": _endpoint,
    "types": _types,
    "rules": _rules,
    "dead letters": _dead_letters,
    "deliveries": _deliveries,
    "arrivals": _arrivals,
    "receiver log": _log,
    "alarms": _alarms,
    "archive": _archive,
    "leftovers": _leftovers,
}
"""By name, in the order in which their findings are printed."""
