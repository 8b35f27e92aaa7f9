"""`openai-webhooks endpoint`: the stack's webhook endpoint at OpenAI, and its signing secret."""

import difflib
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Annotated
from urllib.parse import urlsplit

import typer
from botocore.exceptions import BotoCoreError, ClientError

from openai_webhooks_cli.aws.activity import read_deliveries
from openai_webhooks_cli.aws.rules import handled_types
from openai_webhooks_cli.aws.signing_secret import SigningSecret, matches_hint, values
from openai_webhooks_cli.aws.stack import Stack, receivers
from openai_webhooks_cli.commands import endpoint_secret
from openai_webhooks_cli.commands.open_stack import open_stack
from openai_webhooks_cli.openai_platform import sample_delivery
from openai_webhooks_cli.openai_platform.endpoints import (
    KEY_VARIABLE,
    Endpoint,
    OpenAIApi,
    connect,
    moved,
    of_url,
    owner,
)
from openai_webhooks_cli.shell import options
from openai_webhooks_cli.shell.command import command
from openai_webhooks_cli.shell.errors import CannotRun, Failed, explain
from openai_webhooks_cli.shell.next_command import openai_webhooks
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.printable import printable
from openai_webhooks_cli.shell.stop import Stop

app = typer.Typer(
    name="endpoint",
    no_args_is_help=True,
    help="Register the stack's URL with OpenAI, and rotate the signing secret.",
)

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
Force = Annotated[bool, typer.Option("--force", help="Change an endpoint that has the URL of another system.")]
SendTest = Annotated[
    bool,
    typer.Option("--test/--no-test", help="Let OpenAI send a sample event, and follow it. Matching rules get it too."),
]


@command(app, "create")
def create(
    types: Annotated[
        list[str] | None,
        typer.Argument(
            autocompletion=options.event_types,
            metavar="[TYPE]...",
            help="Event types to receive. By default, those that rules match, or all if no rule matches any.",
        ),
    ] = None,
    all_types: AllTypes = False,
    handled: Handled = False,
    name: Annotated[str | None, typer.Option(help="Name at OpenAI. By default, the stack's name.")] = None,
    keep_secret: KeepSecret = False,
    replace_secret: ReplaceSecret = False,
    test: SendTest = True,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Register the stack's URL with OpenAI, store the signing secret, and test the whole way."""
    output, api = Output(as_json=as_json), _connect()
    _only_one({"TYPE": bool(types), "--all": all_types, "--handled": handled})
    _only_one({"--keep-secret": keep_secret, "--replace-secret": replace_secret})
    found = open_stack(output, stack, profile, region, endpoint_url)
    url = found.outputs["WebhookUrl"]
    if registered := of_url(api.endpoints(), url):
        update = openai_webhooks("endpoint", "update", "--id", registered[0].id)
        raise Failed(
            f"{registered[0].id} has the URL {url} already. A second endpoint would get each event a second time. "
            f"To change it: {update}"
        )
    by_default = not (types or all_types or handled)
    event_types = _choose_types(output, api, found, types or [], handled=handled or by_default, or_all=by_default)
    secret = SigningSecret(found)
    kept = [] if replace_secret else values(secret.read())
    if kept and not keep_secret:
        raise CannotRun(
            "A signing secret is stored already, perhaps of another endpoint. To replace it, pass --replace-secret. To "
            f"accept both secrets: {openai_webhooks('endpoint', 'create', '--keep-secret')}"
        )
    with Stop(output.error) as stop:
        endpoint_secret.check_writable(secret, output)
        stop.check()
        check = openai_webhooks("endpoint", "list")
        with (
            stop.unfinished(lambda: f"Stopped early. Check what exists: {check}"),
            output.progress("Creating the endpoint"),
        ):
            endpoint, new = api.create(url, name or found.name, event_types)
            endpoint_secret.store_or_delete(secret, "\n".join([*kept, new]), api, endpoint)
        text = f"Created {endpoint.id} for {len(endpoint.event_types)} types, and stored its signing secret."
        output.item(text, type="created", **_fields(endpoint, found))
        stop.check()
        if test:
            _test_stored(output, api, found, endpoint, stop)


@command(app, "list")
def list_endpoints(
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """List the project's endpoints, and mark those that have the stack's URL."""
    output, api = Output(as_json=as_json), _connect()
    found = open_stack(output, stack, profile, region, endpoint_url)
    endpoints, owners = api.endpoints(), receivers(found.session)
    for endpoint in endpoints:
        stack_name = owner(endpoint, owners)
        text = f"{_line(endpoint, found)}{f'  stack {stack_name}' if stack_name else ''}"
        output.item(text, type="endpoint", **_fields(endpoint, found), stack=stack_name)
    if not endpoints:
        output.note(f"The project has no endpoint. To create one: {openai_webhooks('endpoint', 'create')}")


@command(app, "update")
def update(
    add: Annotated[list[str] | None, typer.Option(metavar="TYPE", help="Receive this type too.")] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="TYPE", help="Do not receive this type.")] = None,
    all_types: AllTypes = False,
    handled: Handled = False,
    url: Annotated[
        str | None, typer.Option(metavar="auto|URL", help="Deliver to this URL. auto is the stack's URL.")
    ] = None,
    endpoint_id: EndpointId = None,
    yes: options.Yes = False,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Change the endpoint's event types, or its URL."""
    output, api = Output(as_json=as_json), _connect()
    _only_one({"--all": all_types, "--handled": handled})
    if not (add or remove or all_types or handled or url):
        raise CannotRun("Say what to change: pass --add, --remove, --all, --handled or --url.")
    found = open_stack(output, stack, profile, region, endpoint_url)
    old = _find(api, found, endpoint_id, may_have_moved=url == "auto")
    event_types = list(old.event_types)
    if all_types or handled:
        event_types = _choose_types(output, api, found, [], handled=handled)
    if add:
        event_types = list(dict.fromkeys([*event_types, *_choose_types(output, api, found, add, handled=False)]))
    _require_known(remove or [], event_types)
    event_types = [event_type for event_type in event_types if event_type not in (remove or [])]
    if not event_types:
        delete = openai_webhooks("endpoint", "delete")
        raise CannotRun(f"An endpoint needs at least one type. To delete it: {delete}")
    changed_types = None if event_types == list(old.event_types) else event_types
    new_url = found.outputs["WebhookUrl"] if url == "auto" else url
    if (
        new_url
        and new_url != old.url
        and not output.confirm(
            f"{old.id} delivers to {printable(old.url)}. That URL gets nothing any more. Continue?", yes=yes
        )
    ):
        raise Failed("Nothing was changed.")
    new = api.update(old.id, url=new_url, event_types=changed_types) if changed_types or new_url else old
    output.item(_line(new, found), type="updated", **_fields(new, found))
    if url == "auto" and not _has_secret(found, new):
        rotate = openai_webhooks("endpoint", "rotate", "--keep-secret", "--id", new.id)
        output.warning(
            "The stack does not have this endpoint's signing secret, so it refuses the deliveries. To get a new one: "
            f"{rotate}"
        )


@command(app, "test")
def send_test(
    event_type: Annotated[
        str, typer.Argument(autocompletion=options.event_types, metavar="TYPE", help="Type of the sample event.")
    ],
    endpoint_id: EndpointId = None,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Let OpenAI deliver a sample event, and follow it to the bus. Rules that match the event pass it on."""
    output, api = Output(as_json=as_json), _connect()
    found = open_stack(output, stack, profile, region, endpoint_url)
    endpoint = _find(api, found, endpoint_id)
    _require_known([event_type], api.event_types())
    with Stop(output.error) as stop:
        _test(output, api, found, endpoint, event_type, stop)


@command(app, "rotate")
def rotate(
    leaked: Annotated[bool, typer.Option("--leaked", help="End the old secret at once, at OpenAI and here.")] = False,
    finish: Annotated[
        bool, typer.Option("--finish", help="24 hours after a rotation: stop accepting the old secret.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done.")] = False,
    keep_secret: KeepSecret = False,
    replace_secret: ReplaceSecret = False,
    test: SendTest = True,
    endpoint_id: EndpointId = None,
    force: Force = False,
    yes: options.Yes = False,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Make a new signing secret at OpenAI and store it. Deliveries with either secret are accepted.

    OpenAI can use the old secret for 24 hours more. After 24 hours, run the
    command with --finish.
    """
    output = Output(as_json=as_json)
    _only_one({"--leaked": leaked, "--finish": finish})
    _only_one({"--leaked": leaked, "--keep-secret": keep_secret})
    _only_one({"--keep-secret": keep_secret, "--replace-secret": replace_secret})
    if finish:
        found = open_stack(output, stack, profile, region, endpoint_url)
        endpoint_secret.finish(found, output, dry_run=dry_run, yes=yes)
        return
    api = _connect()
    found = open_stack(output, stack, profile, region, endpoint_url)
    endpoint = _find(api, found, endpoint_id)
    _require_own(endpoint, found, force=force)
    secret = SigningSecret(found)
    kept, secret_name = endpoint_secret.others(
        values(secret.read()), endpoint, keep=keep_secret, replace=replace_secret
    )
    if dry_run:
        text = (
            f"Would make a new secret for {endpoint.id}. The old one {'ends at once' if leaked else 'stays valid'}. "
            f"Would store the new secret{' twice' if leaked else ''} in {secret.arn}, with {len(kept)} other secrets."
        )
        output.item(text, type="plan", endpoint=endpoint.id, keep_old=not leaked, kept=len(kept), store=1 + leaked)
        return
    if leaked and not output.confirm(
        f"The old secret of {endpoint.id} ends at once. Deliveries that OpenAI signed with it are refused until OpenAI "
        "retries them. Continue?",
        yes=yes,
    ):
        raise Failed("Nothing was changed.")
    with Stop(output.error) as stop:
        endpoint_secret.check_writable(secret, output)
        stop.check()
        again = openai_webhooks("endpoint", "rotate", "--id", endpoint.id)
        lost = f"Stopped early: the new secret may be lost. Rotate again now: {again}"
        with stop.unfinished(lambda: lost), output.progress("Rotating the signing secret"):
            endpoint, new = api.rotate(endpoint.id, keep_old=not leaked)
            new = f"{secret_name}={new}" if secret_name else new
            endpoint_secret.store_or_save(secret, "\n".join([*kept, new]), found)
            if leaked:
                endpoint_secret.push_out_old(secret, "\n".join([*kept, new]))
        text = f"Rotated the signing secret of {endpoint.id}, and stored the new one."
        output.item(text, type="rotated", **_fields(endpoint, found))
        if leaked:
            endpoint_secret.note_others(output, len(kept))
        if not leaked:
            finish_later = openai_webhooks("endpoint", "rotate", "--finish")
            output.note(f"Stop accepting the old secret after 24 hours: {finish_later}")
        stop.check()
        if test:
            _test_stored(output, api, found, endpoint, stop)


@command(app, "delete")
def delete(
    endpoint_id: EndpointId = None,
    force: Force = False,
    yes: options.Yes = False,
    stack: options.StackName = options.DEFAULT_STACK,
    profile: options.Profile = None,
    region: options.Region = None,
    endpoint_url: options.EndpointUrl = None,
    as_json: options.Json = False,
) -> None:
    """Delete the endpoint at OpenAI. OpenAI then delivers no events to it."""
    output, api = Output(as_json=as_json), _connect()
    found = open_stack(output, stack, profile, region, endpoint_url)
    endpoint = _find(api, found, endpoint_id)
    _require_own(endpoint, found, force=force)
    host = printable(str(urlsplit(endpoint.url).hostname))
    if not yes:
        if not sys.stdin.isatty():
            raise CannotRun(f"Deleting {endpoint.id} at {host} needs a confirmation. Pass --yes.")
        if typer.prompt(f"To delete {endpoint.id}, type the host of its URL, {host}", err=True).strip().lower() != host:
            raise Failed("That is another host. Nothing was deleted.")
    api.delete(endpoint.id)
    output.item(f"Deleted {endpoint.id}.", type="deleted", **_fields(endpoint, found))


def _connect() -> OpenAIApi:
    """Return OpenAI's API. Ask a person for the key if none is set, because a shell would keep it in its history."""
    if not os.environ.get(KEY_VARIABLE) and sys.stdin.isatty():
        os.environ[KEY_VARIABLE] = typer.prompt("API key of your OpenAI project", hide_input=True, err=True)
    return connect()


def _only_one(given: dict[str, bool]) -> None:
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise CannotRun(f"Choose only one of {', '.join(names)}.")


def _find(api: OpenAIApi, stack: Stack, endpoint_id: str | None, *, may_have_moved: bool = False) -> Endpoint:
    """Return the endpoint with an id, or with the stack's URL, or if it `may_have_moved`, one that was the stack's."""
    endpoints, url = api.endpoints(), stack.outputs["WebhookUrl"]
    if endpoint_id:
        found = [endpoint for endpoint in endpoints if endpoint.id == endpoint_id]
    else:
        found = of_url(endpoints, url)
        if may_have_moved and not found:
            found = moved(endpoints, stack.name, receivers(stack.session))
    if len(found) == 1:
        return found[0]
    if found:
        lines = "\n".join(_line(endpoint, stack) for endpoint in found)
        raise CannotRun(f"Several endpoints fit. Choose one with --id:\n{lines}")
    if endpoint_id:
        listing = openai_webhooks("endpoint", "list")
        raise CannotRun(f"The project has no endpoint {printable(endpoint_id)}: {listing}")
    raise CannotRun(
        f"The project of OPENAI_API_KEY has no endpoint at {url}.\n"
        f"If it has another URL: {openai_webhooks('endpoint', 'update', '--url', 'auto')}\n"
        f"To create it: {openai_webhooks('endpoint', 'create')}"
    )


def _require_own(endpoint: Endpoint, stack: Stack, *, force: bool) -> None:
    """Raise CannotRun if the endpoint has the URL of another system."""
    if force or of_url([endpoint], stack.outputs["WebhookUrl"]):
        return
    name = owner(endpoint, receivers(stack.session))
    whose = f"is that of the stack {name}: pass --stack {name}" if name else "can be that of another stack or system"
    raise CannotRun(
        f"{endpoint.id} delivers to {printable(endpoint.url)}, and not to this stack. That URL {whose}. If you are "
        "sure that this endpoint is the one, pass --force."
    )


def _choose_types(
    output: Output, api: OpenAIApi, stack: Stack, types: list[str], *, handled: bool, or_all: bool = False
) -> list[str]:
    """Return the types if OpenAI offers them, or else all, or those that rules match. `or_all` if rules match none."""
    offered = api.event_types()
    _require_known(types, offered)
    if not handled:
        return types or offered
    with output.progress("Finding the types that rules match"):
        found = handled_types(stack, offered)
    if not found and or_all:
        return offered
    if not found:
        raise CannotRun(
            f"No enabled rule on the bus {stack.bus} matches a type that OpenAI offers. Deploy a subscriber "
            f"first, or receive all types: {openai_webhooks('endpoint', 'create', '--all')}"
        )
    return found


def _require_known(types: Iterable[str], known: Sequence[str]) -> None:
    for event_type in types:
        if event_type not in known:
            close = difflib.get_close_matches(event_type, known) or known
            raise CannotRun(f"There is no type {printable(event_type)} here. Did you mean one of {', '.join(close)}?")


def _has_secret(stack: Stack, endpoint: Endpoint) -> bool:
    """Return whether the endpoint's signing secret is stored, or may be, if OpenAI's hint does not say."""
    return any(matches_hint(value, endpoint.secret_hint) is not False for value in values(SigningSecret(stack).read()))


def _test_stored(output: Output, api: OpenAIApi, stack: Stack, endpoint: Endpoint, stop: Stop) -> None:
    """Follow a sample right after the endpoint's secret was stored."""
    try:
        with output.progress("Choosing a type for the test"):
            event_type = sample_delivery.choose_type(stack, endpoint.event_types)
    except (BotoCoreError, ClientError) as error:
        output.warning(f"The secret is stored. Only the test was left out. {explain(error)}")
        return
    _test(output, api, stack, endpoint, event_type, stop, retry_for=sample_delivery.RETRY_AFTER_STORING)


def _test(
    output: Output,
    api: OpenAIApi,
    stack: Stack,
    endpoint: Endpoint,
    event_type: str,
    stop: Stop,
    *,
    retry_for: float = 0,
) -> None:
    """Follow a sample event from OpenAI to the bus. Raises Failed if it does not arrive."""
    with output.progress(f"Following a sample of {event_type} from OpenAI to the bus"):
        followed = sample_delivery.follow(stack, api, endpoint, event_type, stop, retry_for=retry_for)
    seconds, arrived_after = followed.answered_after, followed.arrived_after
    text = f"OpenAI was answered {followed.status}  after {seconds:.1f} s"
    output.item(text, type="answered", event_type=event_type, status=followed.status, seconds=round(seconds, 3))
    doctor = openai_webhooks("doctor")
    if not followed.is_accepted:
        raise Failed(
            f"The receiver did not accept a sample of {event_type}{_reason(stack)}. To find out more: {doctor}"
        )
    if arrived_after is None:
        raise Failed(
            f"The delivery was accepted, but no {event_type} appeared on the bus {stack.bus} within "
            f"{sample_delivery.ARRIVAL_TIMEOUT} s. To find out why: {doctor}"
        )
    text = f"on the bus               after {arrived_after:.1f} s  {event_type}"
    output.item(text, type="arrived", event_type=event_type, seconds=round(arrived_after, 3))


def _reason(stack: Stack) -> str:
    """Return what the receiver says about its newest delivery, as far as the user may read its log."""
    with suppress(BotoCoreError, ClientError):
        for line in read_deliveries(stack)[-1:]:
            return f" ({printable(str(line.fields['outcome']))}: {printable(str(line.fields.get('reason', '')))})"
    return ""


def _fields(endpoint: Endpoint, stack: Stack) -> dict[str, object]:
    return {**endpoint._asdict(), "is_this_stack": bool(of_url([endpoint], stack.outputs["WebhookUrl"]))}


def _line(endpoint: Endpoint, stack: Stack) -> str:
    mark = "*" if of_url([endpoint], stack.outputs["WebhookUrl"]) else " "
    hint = f"secret {endpoint.secret_hint}" if endpoint.secret_hint else "no hint of the secret"
    fields = (endpoint.id, endpoint.name, endpoint.url, f"{len(endpoint.event_types)} types", hint)
    return f"{mark} {'  '.join(printable(field) for field in fields)}"
