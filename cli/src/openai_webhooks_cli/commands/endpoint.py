"""`openai-webhooks endpoint`: the stack's webhook endpoint at OpenAI, and its signing secret."""

import difflib
import secrets
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import typer
from botocore.exceptions import BotoCoreError, ClientError

from openai_webhooks_cli import samples
from openai_webhooks_cli.aws.rules import Rule, envelope, match, read_rules
from openai_webhooks_cli.aws.signing_secret import SigningSecret, matches_hint, values
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.aws.tap import Tap, open_tap
from openai_webhooks_cli.openai_platform.endpoints import Endpoint, OpenAIApi, connect, of_url
from openai_webhooks_cli.shell.command import Selection, Yes, command
from openai_webhooks_cli.shell.errors import CannotRun, Failed, explain
from openai_webhooks_cli.shell.output import Output, printable
from openai_webhooks_cli.shell.stop import Stop

_PATH = "/webhooks/openai"  # of the template's URL
_OLD_SECRET_LIFETIME = timedelta(hours=24)
_ARRIVAL_TIMEOUT = 60  # seconds
# An instance of the receiver reads the secret again at most twice in 10 s, so it may refuse the first tests.
_RETRY_TESTS_FOR = 20  # seconds
_RETRY_PAUSE = 3  # seconds

app = typer.Typer(no_args_is_help=True, help="Register the stack's URL with OpenAI, and rotate the signing secret.")

EndpointId = Annotated[
    str | None,
    typer.Option(
        "--id", metavar="ENDPOINT_ID", help="The endpoint. By default, the endpoint that has the stack's URL."
    ),
]
AllTypes = Annotated[bool, typer.Option("--all", help="Receive all types that OpenAI offers to the project.")]
Handled = Annotated[bool, typer.Option("--handled", help="Receive the types that an enabled rule on the bus matches.")]
KeepSecret = Annotated[
    bool, typer.Option("--keep-secret", help="Add the new secret to the stored ones. The receiver accepts them all.")
]
ReplaceSecret = Annotated[bool, typer.Option("--replace-secret", help="Store only the new secret.")]
SendTest = Annotated[
    bool,
    typer.Option("--test/--no-test", help="Let OpenAI send a sample event, and follow it. Matching rules get it too."),
]


class _Target(NamedTuple):
    """A stack and its project at OpenAI."""

    output: Output
    api: OpenAIApi
    stack: Stack

    @property
    def url(self) -> str:
        return self.stack.outputs["WebhookUrl"]


@app.command("create")
@command("endpoint create")
def create(
    output: Output,
    selection: Selection,
    types: Annotated[
        list[str] | None, typer.Argument(metavar="[TYPE]...", help="Event types to receive. By default, all.")
    ] = None,
    all_types: AllTypes = False,
    handled: Handled = False,
    name: Annotated[str | None, typer.Option(help="Name at OpenAI. By default, the stack's name.")] = None,
    keep_secret: KeepSecret = False,
    replace_secret: ReplaceSecret = False,
    test: SendTest = True,
) -> None:
    """Register the stack's URL with OpenAI, store the signing secret, and test the whole way."""
    _only_one({"TYPE": bool(types), "--all": all_types, "--handled": handled})
    _only_one({"--keep-secret": keep_secret, "--replace-secret": replace_secret})
    target = _connect(output, selection)
    api, url = target.api, target.url
    if registered := of_url(api.endpoints(), url):
        raise Failed(
            f"{registered[0].id} has the URL {url} already. A second endpoint would get each event a second time. "
            f"To change it: openai-webhooks endpoint update --id {registered[0].id}"
        )
    event_types = _choose_types(target, types or [], handled=handled)
    secret = SigningSecret(target.stack)
    kept = values(secret.read())
    if replace_secret:
        kept = []
    if kept and not keep_secret:
        raise CannotRun(
            "A signing secret is stored already, perhaps of another endpoint. To replace it, pass --replace-secret. To "
            "accept both secrets: openai-webhooks endpoint create --keep-secret"
        )
    with Stop() as stop:
        _check_writable(secret, output)
        stop.check()
        stop.on_second = lambda: output.error("Stopped early. Check what exists: openai-webhooks endpoint list")
        with output.progress("Creating the endpoint"):
            endpoint, new = api.create(url, name or target.stack.name, event_types)
            _store_or_delete(secret, "\n".join([*kept, new]), api, endpoint)
        output.line(f"Created {endpoint.id} for {len(endpoint.event_types)} types, and stored its signing secret.")
        output.record(type="created", **_fields(target, endpoint))
        stop.check()
        if test:
            _test(target, endpoint, _sample_type(target, endpoint), stop, retry_for=_RETRY_TESTS_FOR)


@app.command("list")
@command("endpoint list")
def list_endpoints(
    output: Output,
    selection: Selection,
) -> None:
    """List the project's endpoints, and mark those that have the stack's URL."""
    target = _connect(output, selection)
    endpoints = target.api.endpoints()
    for endpoint in endpoints:
        output.line(_line(target, endpoint))
        output.record(type="endpoint", **_fields(target, endpoint))
    if not endpoints:
        output.note("The project has no endpoint. To create one: openai-webhooks endpoint create")


@app.command("update")
@command("endpoint update")
def update(
    output: Output,
    selection: Selection,
    add: Annotated[list[str] | None, typer.Option(metavar="TYPE", help="Receive this type too.")] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="TYPE", help="Do not receive this type.")] = None,
    all_types: AllTypes = False,
    handled: Handled = False,
    url: Annotated[
        str | None, typer.Option(metavar="auto|URL", help="Deliver to this URL. auto is the stack's URL.")
    ] = None,
    endpoint_id: EndpointId = None,
) -> None:
    """Change the endpoint's event types, or its URL."""
    _only_one({"--all": all_types, "--handled": handled})
    if not (add or remove or all_types or handled or url):
        raise CannotRun("Say what to change. The options are listed by: openai-webhooks endpoint update --help")
    target = _connect(output, selection)
    old = _find(target, endpoint_id, moved=url == "auto")
    event_types = list(old.event_types)
    if all_types or handled:
        event_types = _choose_types(target, [], handled=handled)
    if add:
        event_types = list(dict.fromkeys([*event_types, *_choose_types(target, add, handled=False)]))
    _require_known(remove or [], event_types)
    event_types = [event_type for event_type in event_types if event_type not in (remove or [])]
    if not event_types:
        raise CannotRun("An endpoint needs at least one type. To delete it: openai-webhooks endpoint delete")
    changed_types = None if event_types == list(old.event_types) else event_types
    new_url = target.url if url == "auto" else url
    new = old
    if changed_types or new_url:
        new = target.api.update(old.id, url=new_url, event_types=changed_types)
    output.line(_line(target, new))
    output.record(type="updated", **_fields(target, new))
    if url == "auto" and not _has_secret(target.stack, new):
        output.warning(
            "The stack does not have this endpoint's signing secret, so it refuses the deliveries. To get a new one: "
            f"openai-webhooks endpoint rotate --keep-secret --id {new.id}"
        )


@app.command("test")
@command("endpoint test")
def send_test(
    output: Output,
    selection: Selection,
    event_type: Annotated[str, typer.Argument(metavar="TYPE", help="Type of the sample event.")],
    endpoint_id: EndpointId = None,
) -> None:
    """Let OpenAI deliver a sample event, and follow it to the bus. Rules that match the event pass it on."""
    target = _connect(output, selection)
    endpoint = _find(target, endpoint_id)
    _require_known([event_type], target.api.event_types())
    with Stop() as stop:
        _test(target, endpoint, event_type, stop)


@app.command("rotate")
@command("endpoint rotate")
def rotate(
    output: Output,
    selection: Selection,
    leaked: Annotated[bool, typer.Option("--leaked", help="End the old secret at once, at OpenAI and here.")] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="24 hours after a rotation: stop accepting the old secret.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done.")] = False,
    keep_secret: KeepSecret = False,
    replace_secret: ReplaceSecret = False,
    test: SendTest = True,
    endpoint_id: EndpointId = None,
    yes: Yes = False,
) -> None:
    """Make a new signing secret at OpenAI and store it. Deliveries with either secret are accepted.

    OpenAI can use the old secret for 24 hours more. After 24 hours, run the
    command with --finish.
    """
    _only_one({"--leaked": leaked, "--finish": finish})
    _only_one({"--leaked": leaked, "--keep-secret": keep_secret})
    _only_one({"--keep-secret": keep_secret, "--replace-secret": replace_secret})
    if finish:
        _finish(output, selection.find(output), dry_run=dry_run, yes=yes)
        return
    target = _connect(output, selection)
    endpoint = _find(target, endpoint_id)
    secret = SigningSecret(target.stack)
    kept = _other_values(values(secret.read()), endpoint, keep=keep_secret, replace=replace_secret)
    if dry_run:
        output.line(
            f"Would make a new secret for {endpoint.id}. The old one {'ends at once' if leaked else 'stays valid'}. "
            f"Would store the new secret{' twice' if leaked else ''} in {secret.arn}, with {len(kept)} other secrets."
        )
        output.record(type="plan", endpoint=endpoint.id, keep_old=not leaked, kept=len(kept), store=1 + leaked)
        return
    if leaked and not output.confirm(
        f"The old secret of {endpoint.id} ends at once. Deliveries that OpenAI signed with it are refused until OpenAI "
        "retries them. Continue?",
        yes=yes,
    ):
        raise Failed("Nothing was changed.")
    with Stop() as stop:
        _check_writable(secret, output)
        stop.check()
        again = f"openai-webhooks endpoint rotate --id {endpoint.id}"
        stop.on_second = lambda: output.error(f"Stopped early: the new secret may be lost. Rotate again now: {again}")
        with output.progress("Rotating the signing secret"):
            endpoint, new = target.api.rotate(endpoint.id, keep_old=not leaked)
            _store_or_save(secret, "\n".join([*kept, new]), target.stack)
            if leaked:
                _push_out_old(secret, "\n".join([*kept, new]))
        output.line(f"Rotated the signing secret of {endpoint.id}, and stored the new one.")
        output.record(type="rotated", **_fields(target, endpoint))
        if not leaked:
            output.note("Stop accepting the old secret after 24 hours: openai-webhooks endpoint rotate --finish")
        stop.check()
        if test:
            _test(target, endpoint, _sample_type(target, endpoint), stop, retry_for=_RETRY_TESTS_FOR)


@app.command("delete")
@command("endpoint delete")
def delete(
    output: Output,
    selection: Selection,
    endpoint_id: EndpointId = None,
    yes: Yes = False,
) -> None:
    """Delete the endpoint at OpenAI. OpenAI then delivers no events to it."""
    target = _connect(output, selection)
    endpoint = _find(target, endpoint_id)
    host = printable(str(urlsplit(endpoint.url).hostname))
    if not yes:
        if not sys.stdin.isatty():
            raise CannotRun(f"Deleting {endpoint.id} at {host} needs a confirmation. Pass --yes.")
        if typer.prompt(f"To delete {endpoint.id}, type the host of its URL, {host}", err=True).strip().lower() != host:
            raise Failed("That is another host. Nothing was deleted.")
    target.api.delete(endpoint.id)
    output.line(f"Deleted {endpoint.id}.")
    output.record(type="deleted", **_fields(target, endpoint))


def _connect(output: Output, selection: Selection) -> _Target:
    api = connect()  # without a key, say so before anything else
    return _Target(output, api, selection.find(output))


def _only_one(given: dict[str, bool]) -> None:
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise CannotRun(f"Choose only one of {', '.join(names)}.")


def _find(target: _Target, endpoint_id: str | None, *, moved: bool = False) -> Endpoint:
    """Return the endpoint with an id, or with the stack's URL.

    If it `moved`, the endpoint can have another URL, and the stack's name or the path of the template's URL.
    """
    endpoints = target.api.endpoints()
    if endpoint_id:
        found = [endpoint for endpoint in endpoints if endpoint.id == endpoint_id]
    else:
        found = of_url(endpoints, target.url)
    if not found and not endpoint_id and moved:
        found = [e for e in endpoints if e.name == target.stack.name or urlsplit(e.url).path.rstrip("/") == _PATH]
    if len(found) == 1:
        return found[0]
    if found:
        lines = "\n".join(_line(target, endpoint) for endpoint in found)
        raise CannotRun(f"Several endpoints fit. Choose one with --id:\n{lines}")
    if endpoint_id:
        raise CannotRun(f"The project has no endpoint {printable(endpoint_id)}: openai-webhooks endpoint list")
    raise CannotRun(
        f"The project of OPENAI_API_KEY has no endpoint at {target.url}. If it has another URL: "
        "openai-webhooks endpoint update --url auto. To create it: openai-webhooks endpoint create"
    )


def _choose_types(target: _Target, types: list[str], *, handled: bool) -> list[str]:
    """Return the types if OpenAI offers them, or else all, or all that rules match."""
    offered = target.api.event_types()
    _require_known(types, offered)
    if not handled:
        return types or offered
    with target.output.progress("Finding the types that rules match"):
        rules = _enabled_rules(target.stack)
        found = [event_type for event_type in offered if _is_handled(target.stack, rules, event_type)]
    if not found:
        raise CannotRun(
            f"No enabled rule on the bus {target.stack.bus} matches a type that OpenAI offers. Deploy a subscriber "
            "first, or receive all types: openai-webhooks endpoint create --all"
        )
    return found


def _require_known(types: Iterable[str], known: Sequence[str]) -> None:
    for event_type in types:
        if event_type not in known:
            close = difflib.get_close_matches(event_type, known) or known
            raise CannotRun(f"There is no type {printable(event_type)} here. Did you mean one of {', '.join(close)}?")


def _sample_type(target: _Target, endpoint: Endpoint) -> str:
    """Return a type for a test: one that no rule matches, so that no subscriber gets the sample, or else the first."""
    types, stack = endpoint.event_types, target.stack
    with target.output.progress("Choosing a type for the test"):
        rules = _enabled_rules(stack)
        return next((event_type for event_type in types if not _is_handled(stack, rules, event_type)), types[0])


def _enabled_rules(stack: Stack) -> list[Rule]:
    return [rule for rule in read_rules(stack) if rule.enabled]


def _is_handled(stack: Stack, rules: list[Rule], event_type: str) -> bool:
    event = envelope(stack, samples.sample(event_type, created_at=int(stack.now())))
    return any(match(stack, rules, [event])[0])


def _has_secret(stack: Stack, endpoint: Endpoint) -> bool:
    """Return whether the endpoint's signing secret is stored, or may be, if OpenAI's hint does not say."""
    return any(matches_hint(value, endpoint.secret_hint) is not False for value in values(SigningSecret(stack).read()))


def _other_values(stored: list[str], endpoint: Endpoint, *, keep: bool, replace: bool) -> list[str]:
    """Return the stored secrets of other endpoints. Raises CannotRun if the endpoint's own secret is not clear."""
    if keep or replace:
        return stored if keep else []
    fits = [matches_hint(value, endpoint.secret_hint) for value in stored]
    if fits in ([], [None]):
        return []
    if fits.count(True) == 1:
        return [value for value, fit in zip(stored, fits, strict=True) if not fit]
    raise CannotRun(
        f"{len(stored)} signing secrets are stored, and OpenAI's hint does not tell which one {endpoint.id} has. To "
        "store only the new one, pass --replace-secret. To keep all: openai-webhooks endpoint rotate --keep-secret"
    )


def _check_writable(secret: SigningSecret, output: Output) -> None:
    # A failed write after OpenAI made a secret would lose the only copy.
    with output.progress("Checking that the signing secret can be written"):
        secret.check_writable()


def _store_or_delete(secret: SigningSecret, text: str, api: OpenAIApi, endpoint: Endpoint) -> None:
    try:
        secret.store(text)
    except (BotoCoreError, ClientError) as error:
        problem = f"The signing secret could not be stored. {explain(error, 'endpoint create')}"
    else:
        return
    try:
        api.delete(endpoint.id)
    except CannotRun as error:
        raise Failed(
            f"{problem}\nDeleting the endpoint failed too: {error} It is left at OpenAI, without its secret. To remove "
            f"it: openai-webhooks endpoint delete --id {endpoint.id}"
        ) from None
    raise Failed(f"{problem}\nThe endpoint was deleted again. Then try again: openai-webhooks endpoint create")


def _store_or_save(secret: SigningSecret, text: str, stack: Stack) -> None:
    try:
        secret.store(text)
    except (BotoCoreError, ClientError) as error:
        problem = (
            f"OpenAI signs with the new secret already, but it was not stored. {explain(error, 'endpoint rotate')}"
        )
    else:
        return
    path = Path(f"openai-signing-secret-{secrets.token_hex(4)}")
    try:
        path = path.resolve()
        path.touch(0o600, exist_ok=False)
        path.write_text(text)
    except OSError as error:
        raise Failed(
            f"{problem}\nWriting {path} failed too ({error.strerror}), so the new secret is lost. When Secrets Manager "
            "works again, rotate again: openai-webhooks endpoint rotate"
        ) from None
    raise Failed(
        f"{problem}\nThe only copy is {path}, which only you can read. Store it now, then delete the file:\n"
        f"  aws secretsmanager put-secret-value --region {stack.region} --secret-id {secret.arn} "
        f"--secret-string {shlex.quote(f'file://{path}')}"
    )


def _push_out_old(secret: SigningSecret, text: str) -> None:
    """Store the current text again, so that AWSPREVIOUS has it too."""
    try:
        secret.store(text)
    except (BotoCoreError, ClientError) as error:
        raise Failed(
            f"The new secret is stored. The receiver still accepts the old one. {explain(error, 'endpoint rotate')}\n"
            "Repeat the last step now: openai-webhooks endpoint rotate --finish --yes"
        ) from None


def _finish(output: Output, stack: Stack, *, dry_run: bool, yes: bool) -> None:
    """Make the current version the previous one too, so that the old secret is refused."""
    secret = SigningSecret(stack)
    current, stored_at = secret.read() or "", secret.stored_at()
    if not values(current) or stored_at is None:
        raise CannotRun("No signing secret is stored. To get one: openai-webhooks endpoint create")
    if set(values(secret.read("AWSPREVIOUS"))) <= set(values(current)):
        output.line("Nothing to do: no old secret is accepted.")
        output.record(type="finished", changed=False)
        return
    end = stored_at + _OLD_SECRET_LIFETIME
    if stack.now() < end.timestamp() and not yes:
        raise CannotRun(
            f"OpenAI can sign with the old secret until {end.astimezone():%Y-%m-%d %H:%M}. Run this after that time. "
            "To refuse the old secret now: openai-webhooks endpoint rotate --finish --yes"
        )
    if dry_run:
        output.line(f"Would store the current value of {secret.arn} again.")
        output.record(type="plan", store=1)
        return
    secret.store(current)
    output.line("The receiver refuses the old secret within 5 minutes.")
    output.record(type="finished", changed=True)


def _test(target: _Target, endpoint: Endpoint, event_type: str, stop: Stop, *, retry_for: float = 0) -> None:
    """Follow a sample event from OpenAI to the bus. Raises Failed if it does not arrive.

    Other events of the type that arrive at the same time cannot be told from the sample.
    """
    stack, output = target.stack, target.output
    pattern = {"source": [stack.event_source], "detail-type": [event_type], "replay-name": [{"exists": False}]}
    taps = open_tap(stack, [pattern], stop, on_cleanup_failure=output.error)
    with output.progress(f"Following a sample of {event_type} from OpenAI to the bus"), taps as tap:
        started, status = _deliver(target.api, endpoint, event_type, stop, retry_for=retry_for)
        answered = time.monotonic() - started
        is_accepted = 200 <= status < 300
        arrived = is_accepted and _arrives(tap, since=stack.now() - answered - 1, stop=stop)
        seconds = time.monotonic() - started
    output.line(f"OpenAI was answered {status}  after {answered:.1f} s")
    output.record(type="answered", event_type=event_type, status=status, seconds=round(answered, 3))
    if not is_accepted:
        raise Failed(f"The receiver did not accept a sample of {event_type}. To find out why: openai-webhooks doctor")
    if not arrived:
        raise Failed(
            f"The delivery was accepted, but no {event_type} appeared on the bus {stack.bus} within {_ARRIVAL_TIMEOUT} "
            "s. To find out why: openai-webhooks doctor"
        )
    output.line(f"on the bus               after {seconds:.1f} s  {event_type}")
    output.record(type="arrived", event_type=event_type, seconds=round(seconds, 3))


def _deliver(api: OpenAIApi, endpoint: Endpoint, event_type: str, stop: Stop, *, retry_for: float) -> tuple[float, int]:
    """Return when the last test started, and the status code of the receiver's answer."""
    deadline = time.monotonic() + retry_for
    while True:
        started = time.monotonic()
        status = api.test(endpoint.id, event_type)
        if status not in (401, 503) or time.monotonic() + _RETRY_PAUSE > deadline:
            return started, status
        stop.wait(_RETRY_PAUSE)


def _arrives(tap: Tap, *, since: float, stop: Stop) -> bool:
    deadline = time.monotonic() + _ARRIVAL_TIMEOUT
    while time.monotonic() < deadline:
        stop.check()
        if any(not tap.is_probe(message) and message.sent_at >= since for message in tap.receive(wait=2)):
            return True
    return False


def _fields(target: _Target, endpoint: Endpoint) -> dict[str, object]:
    return {**endpoint._asdict(), "is_this_stack": bool(of_url([endpoint], target.url))}


def _line(target: _Target, endpoint: Endpoint) -> str:
    mark = "*" if of_url([endpoint], target.url) else " "
    hint = f"secret {endpoint.secret_hint}" if endpoint.secret_hint else "no hint of the secret"
    fields = (endpoint.id, endpoint.name, endpoint.url, f"{len(endpoint.event_types)} types", hint)
    return f"{mark} {'  '.join(printable(field) for field in fields)}"
