"""How `openai-webhooks endpoint` stores signing secrets, so that none is lost and no wrong one stays accepted."""

import secrets
from datetime import timedelta
from pathlib import Path

import typer
from botocore.exceptions import BotoCoreError, ClientError

from openai_webhooks import decode_named_secret
from openai_webhooks_cli.aws.signing_secret import SigningSecret, matches_hint, values
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.openai_platform.endpoints import Endpoint, OpenAIApi
from openai_webhooks_cli.shell.errors import CannotRun, Failed, explain
from openai_webhooks_cli.shell.next_command import aws, openai_webhooks
from openai_webhooks_cli.shell.output import Output
from openai_webhooks_cli.shell.times import local_time

_OLD_SECRET_LIFETIME = timedelta(hours=24)


def others(stored: list[str], endpoint: Endpoint, *, keep: bool, replace: bool) -> tuple[list[str], str]:
    """Return the stored secrets of other endpoints, and the name of the endpoint's own secret.

    Raises CannotRun if the endpoint's own secret is not clear.
    """
    fits = [matches_hint(value, endpoint.secret_hint) for value in stored]
    # A single secret is the endpoint's own, unless OpenAI's hint says otherwise.
    own = stored if fits == [None] else [value for value, fit in zip(stored, fits, strict=True) if fit]
    name = decode_named_secret(own[0])[0] if len(own) == 1 else ""
    if keep or replace:
        return (stored if keep else []), name
    # If none fits, a rotation may have ended before it was stored. All others stay accepted.
    if len(own) == 1 or not any(fit is not False for fit in fits):
        return [value for value in stored if value not in own], name
    raise CannotRun(
        f"{len(stored)} signing secrets are stored, and OpenAI's hint does not tell which one {endpoint.id} has. To "
        f"store only the new one, pass --replace-secret. To keep all: {_rotate('--keep-secret')}"
    )


def check_writable(secret: SigningSecret, output: Output) -> None:
    """Check it before OpenAI makes a secret: a failed write afterwards would lose the only copy."""
    with output.progress("Checking that the signing secret can be written"):
        secret.check_writable()


def store_or_delete(secret: SigningSecret, text: str, api: OpenAIApi, endpoint: Endpoint) -> None:
    """Store the secret of a new endpoint, or delete the endpoint again. Raises Failed if the secret is not stored."""
    try:
        secret.store(text)
    except (BotoCoreError, ClientError) as error:
        problem = f"The signing secret could not be stored. {explain(error)}"
    else:
        return
    try:
        api.delete(endpoint.id)
    except CannotRun as error:
        delete = openai_webhooks("endpoint", "delete", "--id", endpoint.id)
        raise Failed(
            f"{problem}\nDeleting the endpoint failed too: {error} It is left at OpenAI, without its secret. To remove "
            f"it: {delete}"
        ) from None
    create = openai_webhooks("endpoint", "create")
    raise Failed(f"{problem}\nThe endpoint was deleted again. Then try again: {create}")


def store_or_save(secret: SigningSecret, text: str, stack: Stack) -> None:
    """Store a rotated secret, or write it into a file. Raises Failed if the secret is not stored."""
    try:
        secret.store(text)
    except (BotoCoreError, ClientError) as error:
        problem = f"OpenAI signs with the new secret already, but it was not stored. {explain(error)}"
    else:
        return
    # Not in the working folder, where it could get into a commit.
    path = Path(typer.get_app_dir("openai-webhooks"), f"signing-secret-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600, exist_ok=False)
        path.write_text(text)
    except OSError as error:
        raise Failed(
            f"{problem}\nWriting {path} failed too ({error.strerror}), so the new secret is lost. When Secrets Manager "
            f"works again, rotate again: {_rotate()}"
        ) from None
    store = aws(
        *("secretsmanager", "put-secret-value", "--secret-id", secret.arn, "--secret-string", f"file://{path}"),
        region=stack.region,
    )
    raise Failed(
        f"{problem}\nThe only copy is {path}, which only you can read. Store it now, then delete the file:\n  {store}"
    )


def push_out_old(secret: SigningSecret, text: str) -> None:
    """Store the current text again, so that AWSPREVIOUS has it too. Raises Failed if the old secret stays accepted."""
    try:
        secret.store(text)
    except (BotoCoreError, ClientError) as error:
        raise Failed(
            f"The new secret is stored. The receiver still accepts the old one. {explain(error)}\n"
            f"Repeat the last step now: {_rotate('--finish', '--yes')}"
        ) from None


def finish(stack: Stack, output: Output, *, dry_run: bool, yes: bool) -> None:
    """Make the current version the previous one too, so that the old secret is refused."""
    secret = SigningSecret(stack)
    current, stored_at = secret.read() or "", secret.stored_at()
    if not values(current) or stored_at is None:
        raise CannotRun(f"No signing secret is stored. To get one: {openai_webhooks('endpoint', 'create')}")
    if set(values(secret.read("AWSPREVIOUS"))) <= set(values(current)):
        output.item("Nothing to do: no old secret is accepted.", type="finished", changed=False)
        return
    end = stored_at + _OLD_SECRET_LIFETIME
    if stack.now() < end.timestamp() and not yes:
        raise CannotRun(
            f"OpenAI can sign with the old secret until {local_time(end)}. Run this after that time. "
            f"To refuse the old secret now: {_rotate('--finish', '--yes')}"
        )
    if dry_run:
        output.item(f"Would store the current value of {secret.arn} again.", type="plan", store=1)
        return
    secret.store(current)
    output.item("The receiver refuses the old secret within 5 minutes.", type="finished", changed=True)
    note_others(output, len(values(current)) - 1)


def note_others(output: Output, count: int) -> None:
    """Say how many other secrets stay accepted, and how to drop them."""
    if count:
        text = f"{count} other stored secret{' stays' if count == 1 else 's stay'} accepted."
        output.note(f"{text} To accept only a new one: {_rotate('--replace-secret')}")


def _rotate(*options: str) -> str:
    return openai_webhooks("endpoint", "rotate", *options)
