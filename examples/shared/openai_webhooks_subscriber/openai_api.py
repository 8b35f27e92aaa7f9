"""A client of OpenAI's API, whose key is in AWS Secrets Manager."""

import os
from typing import Any

from aws_lambda_powertools.utilities.parameters import get_secret
from openai import OpenAI


class NoApiKey(Exception):
    """The secret has no OpenAI API key. The text names the secret and the command that stores the key."""


def openai_client(**options: Any) -> OpenAI:
    """Return a client. `options` are those of `openai.OpenAI`.

    It reads the key from the secret that OPENAI_API_KEY_SECRET_NAME names, at the first request and then every 5
    minutes, so a new key works without a deployment. OPENAI_BASE_URL is the address of the API.
    """
    return OpenAI(api_key=api_key, **options)


def api_key() -> str:
    """Return the key, from Secrets Manager or from the cache.

    A function that must answer fast calls it before its first event, so that the event finds the key in the cache.
    Raises NoApiKey, and GetParameterError if Secrets Manager refuses or does not answer.
    """
    name = os.environ["OPENAI_API_KEY_SECRET_NAME"]
    key = str(get_secret(name, max_age=300)).strip()
    # A header cannot contain anything else, and the error of the HTTP library would show the key.
    if not key.startswith("sk-") or not key.isascii() or not key.isprintable() or " " in key:
        raise NoApiKey(
            f"The secret {name} has no OpenAI API key. A key starts with sk-. To store one: "
            f'aws secretsmanager put-secret-value --secret-id {name} --secret-string "$OPENAI_API_KEY"'
        )
    return key
