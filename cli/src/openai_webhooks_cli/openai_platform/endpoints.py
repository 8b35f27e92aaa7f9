"""OpenAI's API for webhook endpoints.

The SDK's objects and errors can contain a signing secret or the API key, so they do not leave this module.
"""

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from openai_webhooks_cli.shell.errors import CannotRun, NotAllowed
from openai_webhooks_cli.shell.next_command import openai_webhooks
from openai_webhooks_cli.shell.printable import printable

KEY_VARIABLE = "OPENAI_API_KEY"
_TIMEOUT = 10  # seconds; the SDK tries three times
_TIMEOUT_ONCE = 30  # seconds; a test waits for the receiver's answer
_LOGGERS = ("openai", "httpx", "httpx2", "httpcore", "httpcore2")
_ADVICE = {
    401: "Set OPENAI_API_KEY to a valid API key of the endpoint's project.",
    403: "Set OPENAI_API_KEY to a key of the endpoint's project that may manage webhooks.",
    404: "Check the endpoint's id, the project of OPENAI_API_KEY, and OPENAI_BASE_URL: {list}",
    429: "Wait a minute, then run the command again.",
}

Answer = TypeVar("Answer")


class Endpoint(NamedTuple):
    """A webhook endpoint of the API key's project."""

    id: str
    name: str
    url: str
    event_types: tuple[str, ...]
    secret_hint: str | None
    """A mask of the signing secret. Its form is not documented."""
    updated_at: int | None
    """When its settings or its secret changed last, in Unix seconds."""


class OpenAIApi:
    """The calls of OpenAI's API for webhook endpoints. Each raises CannotRun if OpenAI does not do what it asks for."""

    def __init__(self, client: Any) -> None:
        """Use the SDK's client."""
        self._webhooks = client.webhooks
        # A create or rotate whose answer got lost is not retried, because the retry would make another secret.
        self._webhooks_once = client.with_options(max_retries=0, timeout=_TIMEOUT_ONCE).webhooks

    def event_types(self) -> list[str]:
        """Return the event types that the project can receive."""
        return _ask(lambda: [str(event_type) for event_type in self._webhooks.event_types.list().data])

    def endpoints(self) -> list[Endpoint]:
        """Return all endpoints of the project, the newest first."""
        return _ask(lambda: [_endpoint(answer) for answer in self._webhooks.list()])

    def create(self, url: str, name: str, event_types: Sequence[str]) -> tuple[Endpoint, str]:
        """Create an endpoint. Return it and its signing secret, which OpenAI does not show again."""
        return _ask(
            lambda: _with_secret(self._webhooks_once.create(url=url, name=name, event_types=list(event_types))),
            f"The endpoint may exist, and its secret is lost: {openai_webhooks('endpoint', 'list')}",
        )

    def update(self, endpoint_id: str, *, url: str | None = None, event_types: Sequence[str] | None = None) -> Endpoint:
        """Change the fields that are not None."""
        fields = {"url": url, "event_types": event_types and list(event_types)}
        changed = {field: value for field, value in fields.items() if value is not None}
        return _ask(lambda: _endpoint(self._webhooks.update(endpoint_id, **changed)))

    def rotate(self, endpoint_id: str, *, keep_old: bool) -> tuple[Endpoint, str]:
        """Make a new signing secret and return it. With `keep_old`, the old secret stays valid for 24 hours."""
        rotate, again = self._webhooks_once.rotate_secret, openai_webhooks("endpoint", "rotate")
        return _ask(
            # OpenAI's default ends the old secret at once, so the argument is always sent.
            lambda: _with_secret(rotate(endpoint_id, keep_old_secret_active_for_24_hours=keep_old)),
            f"OpenAI may have made a new secret, which is lost. Rotate again now: {again}",
        )

    def delete(self, endpoint_id: str) -> None:
        """Delete an endpoint."""
        _ask(lambda: self._webhooks.delete(endpoint_id))

    def test(self, endpoint_id: str, event_type: str) -> int:
        """Let OpenAI deliver a sample event. Return the status code of the receiver's answer to OpenAI."""
        return _ask(lambda: int(self._webhooks_once.test(endpoint_id, event_type=event_type).status_code))


def connect() -> OpenAIApi:
    """Return OpenAI's API, with the key in the environment. Raises CannotRun if there is none."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key:
        raise CannotRun(
            "No OPENAI_API_KEY: set this variable to an API key of the OpenAI project that the endpoint belongs to. "
            "You create keys at https://platform.openai.com/api-keys"
        )
    from openai import OpenAI  # noqa: PLC0415  # takes 0.7 s

    # With OPENAI_LOG=debug, these would log headers and answers.
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    return OpenAIApi(OpenAI(api_key=key, timeout=_TIMEOUT))


def of_url(endpoints: Iterable[Endpoint], url: str) -> list[Endpoint]:
    """Return the endpoints that are registered at `url`."""
    return [endpoint for endpoint in endpoints if _normalized(endpoint.url) == _normalized(url)]


def moved(endpoints: Iterable[Endpoint], stack_name: str, owners: Mapping[str, str]) -> list[Endpoint]:
    """Return the endpoints elsewhere that can have been the stack's: those with its name, and no other owner.

    `owners` are the stacks of the account and the region, by URL.
    """
    return [e for e in endpoints if e.name == stack_name and not owner(e, owners)]


def owner(endpoint: Endpoint, owners: Mapping[str, str]) -> str:
    """Return the stack that has the endpoint's URL, or an empty text."""
    return next((stack for url, stack in owners.items() if of_url([endpoint], url)), "")


def _ask(call: Callable[[], Answer], if_outcome_unknown: str = "") -> Answer:
    """Return what `call` returns. Raises CannotRun in place of the SDK's errors."""
    import openai  # noqa: PLC0415  # takes 0.7 s

    outcome_known, kind = False, CannotRun
    try:
        return call()
    except openai.APIStatusError as error:
        outcome_known = error.status_code < 500
        kind = NotAllowed if error.status_code in (401, 403) else CannotRun
        advice = _ADVICE.get(error.status_code, "" if outcome_known else "Try again later.")
        advice = advice.format(list=openai_webhooks("endpoint", "list"))
        message = f"OpenAI answered {error.status_code}{_reason(error)}. {advice}"
    except openai.APIConnectionError as error:
        message = f"No answer from OpenAI ({type(error).__name__}). Check the network and OPENAI_BASE_URL."
    except (openai.OpenAIError, ValueError, TypeError, AttributeError) as error:
        # The SDK does not check answers: a missing field raises AttributeError where it is used.
        message = (
            f"Cannot read OpenAI's answer ({type(error).__name__}). Check OPENAI_BASE_URL, and update this command."
        )
    # Outside of `except`, because the SDK's error contains the request and the answer.
    raise kind(f"{message} {'' if outcome_known else if_outcome_unknown}".strip())


def _reason(error: Any) -> str:
    """Return what OpenAI says about an error, without anything that looks like a key or a secret."""
    text = error.body.get("message") if isinstance(error.body, dict) else None
    if not isinstance(text, str) or error.status_code == 401:  # the text has a part of the API key
        return ""
    text = re.sub(r"(sk-|whsec_)\S+", r"\1…", text.replace(os.environ.get(KEY_VARIABLE, "").strip(), "…"))
    return f": {printable(text).rstrip('.')}"


def _endpoint(answer: Any) -> Endpoint:
    return Endpoint(
        id=printable(answer.id),
        name=answer.name,
        url=answer.url,
        event_types=tuple(answer.event_types),
        secret_hint=answer.signing_secret_hint,
        updated_at=answer.updated_at,
    )


def _with_secret(answer: Any) -> tuple[Endpoint, str]:
    return _endpoint(answer), answer.signing_secret.strip()


def _normalized(url: str) -> str:
    """Return the URL with its scheme and host in lower case, without a slash at the end."""
    return re.sub(r"^[^/]*//[^/]*", lambda start: start[0].lower(), url.rstrip("/"))
