"""A client of OpenAI's API, whose key is in AWS Secrets Manager."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from aws_lambda_powertools.utilities.parameters import GetParameterError, SecretsProvider
from openai import APIStatusError, AuthenticationError, OpenAI, PermissionDeniedError

from openai_webhooks_subscriber.aws import CONFIG

_SECRETS = SecretsProvider(boto3_client=boto3.client("secretsmanager", config=CONFIG))
_KEPT = 300  # seconds
# From standard input, because anyone on a machine can see the arguments of its commands.
_STORE = "printenv OPENAI_API_KEY | aws secretsmanager {} --secret-string file:///dev/stdin"


class NoApiKey(Exception):
    """The secret cannot be read, or has no OpenAI API key. The text says how to store one."""


def openai_client(**options: Any) -> OpenAI:
    """Return a client. `options` are those of `openai.OpenAI`.

    It reads the key from the secret that OPENAI_API_KEY_SECRET_NAME names, at the first request and then every 5
    minutes, so a new key works without a deployment. OPENAI_BASE_URL is the address of the API.
    """
    return OpenAI(api_key=api_key, **options)


def api_key(*, refresh: bool = False) -> str:
    """Return the key, from Secrets Manager or from the cache.

    A function that must answer fast refreshes the cache before an event comes. Raises NoApiKey.
    """
    name = os.environ["OPENAI_API_KEY_SECRET_NAME"]
    try:
        key = str(_SECRETS.get(name, max_age=_KEPT, force_fetch=refresh)).strip()
    except GetParameterError as error:
        raise NoApiKey(
            f"The secret {name} cannot be read: {error}. AWS can also deny the access if there is no such secret. To "
            f"create it: {_STORE.format(f'create-secret --name {name}')}"
        ) from None
    # A header cannot contain anything else, and the error of the HTTP library would show the key.
    if not key.startswith("sk-") or not key.isascii() or not key.isprintable() or " " in key:
        raise NoApiKey(
            f"The secret {name} has no OpenAI API key. A key starts with sk-. To store one: "
            f"{_STORE.format(f'put-secret-value --secret-id {name}')}"
        )
    return key


@contextmanager
def explain_refusal() -> Iterator[None]:
    """Replace the text of OpenAI's errors, which can quote the request and parts of the API key.

    An error keeps its class, because workflows match its name. Decorate a handler with it, so that no text of OpenAI
    reaches the log.
    """
    try:
        yield
    except APIStatusError as error:
        facts = (error.status_code, error.code or error.type, error.param, error.request_id)
        text = f"OpenAI answered {', '.join(str(fact) for fact in facts if fact)}."
        if isinstance(error, AuthenticationError | PermissionDeniedError):
            name = os.environ["OPENAI_API_KEY_SECRET_NAME"]
            text += (
                f" The API key in the secret {name} is wrong, or has no permission for this request. Store another "
                f"key, which the function uses within {_KEPT // 60} minutes: "
                f"{_STORE.format(f'put-secret-value --secret-id {name}')}"
            )
        raise type(error)(text, response=error.response, body=None) from None
