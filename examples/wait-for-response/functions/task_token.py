"""The task token of Step Functions, in the metadata of the response.

The token travels with the request. No event can arrive before the token is stored, and no crash can separate the two.
The names of its keys have the stack's id: several stacks can start responses of the same OpenAI project, and each of
them gets the events of all.
"""

import os
from collections.abc import Mapping
from itertools import batched
from typing import Any

# OpenAI's limits: https://platform.openai.com/docs/api-reference/responses/create#responses-create-metadata
_MAX_KEYS = 16
_MAX_VALUE = 512
# A token has up to 2,048 characters: https://docs.aws.amazon.com/step-functions/latest/apireference/API_SendTaskSuccess.html
_TOKEN_KEYS = 4
_PREFIX = "task_token_"


class InvalidInput(Exception):
    """The input of the workflow cannot become a background response. The text says what to change."""


def with_task_token(metadata: Mapping[str, Any] | None, token: str) -> dict[str, Any]:
    """Return metadata that has the user's keys and the token. Raises InvalidInput."""
    own = dict(metadata or {})
    if len(own) > _MAX_KEYS - _TOKEN_KEYS:
        raise InvalidInput(
            f"metadata has {len(own)} keys. Use at most {_MAX_KEYS - _TOKEN_KEYS}: OpenAI accepts {_MAX_KEYS}, and the "
            f"task token needs {_TOKEN_KEYS} of them."
        )
    if any(key.startswith(_PREFIX) for key in own):
        raise InvalidInput(
            f"metadata has a key that starts with {_PREFIX}. The workflow uses these keys. Rename yours."
        )
    parts = ("".join(part) for part in batched(token, _MAX_VALUE, strict=False))
    return own | dict(zip(_keys(), parts, strict=False))


def read_task_token(metadata: Mapping[str, str] | None) -> str | None:
    """Return the token, or None if the response was not started by this stack."""
    return "".join((metadata or {}).get(key, "") for key in _keys()) or None


def _keys() -> list[str]:
    # arn:aws:cloudformation:REGION:ACCOUNT:stack/NAME/UUID. OpenAI accepts 64 characters in the name of a key.
    stack = os.environ["STACK_ID"].rpartition("/")[2]
    return [f"{_PREFIX}{stack}_{number}" for number in range(1, _TOKEN_KEYS + 1)]
