"""The stack's signing secret in Secrets Manager. Only `read` and `values` return secrets."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime

from openai_webhooks import InvalidSecret, decode_named_secret
from openai_webhooks_cli.aws.stack import Stack
from openai_webhooks_cli.shell.errors import if_found

_WRITE_CHECK = "openai-webhooks-write-check"
_PLACEHOLDER = "Placeholder "  # how the template's text starts
_SHORTEST_HINT = 3  # characters; fewer say nothing


class SigningSecret:
    """The secret of a stack. It contains one or more signing secrets, separated by white space."""

    def __init__(self, stack: Stack) -> None:
        self._client = stack.client("secretsmanager")
        self.arn = stack.outputs["SigningSecretArn"]

    def read(self, stage: str = "AWSCURRENT") -> str | None:
        """Return the text of a version, or None if no version has this staging label."""
        # Name the stage always: without one, some emulators return the newest version.
        answer = if_found(lambda: self._client.get_secret_value(SecretId=self.arn, VersionStage=stage))
        return None if answer is None else str(answer.get("SecretString", ""))

    def stored_at(self) -> datetime | None:
        """Return when the current version was stored. This does not read the secret."""
        # One page: without IncludeDeprecated, AWS returns only versions with a label, 20 at most.
        for version in self._client.list_secret_version_ids(SecretId=self.arn)["Versions"]:
            if "AWSCURRENT" in version["VersionStages"]:
                return version["CreatedDate"].astimezone(UTC)  # type: ignore[no-any-return]
        return None

    def check_writable(self) -> None:
        """Write a version that the receiver never reads, and remove its label, so that AWS deletes the version.

        Raises ClientError if the secret cannot be written.
        """
        version = self._client.put_secret_value(
            SecretId=self.arn, SecretString="A check of write access. It is not a secret.", VersionStages=[_WRITE_CHECK]
        )["VersionId"]
        self._client.update_secret_version_stage(
            SecretId=self.arn, VersionStage=_WRITE_CHECK, RemoveFromVersionId=version
        )

    def store(self, text: str) -> None:
        """Make `text` the current version. The current version becomes AWSPREVIOUS."""
        self._client.put_secret_value(SecretId=self.arn, SecretString=text)


def is_placeholder(text: str) -> bool:
    """Return whether a text is the template's, so that no signing secret was ever stored."""
    return text.startswith(_PLACEHOLDER)


def values(text: str | None) -> list[str]:
    """Return the valid signing secrets in a text, with their names if they have some."""
    return [value for value, problem in _checked(text) if not problem]


def problems(text: str | None) -> list[str]:
    """Return what is wrong with each malformed value: its position and the reason, never the value."""
    return [f"value {n}: {problem}" for n, (_, problem) in enumerate(_checked(text), start=1) if problem]


def matches_hint(value: str, hint: str | None) -> bool | None:
    """Return whether a signing secret fits OpenAI's hint, or None if the hint does not say.

    The form of hints is not documented. This reads `whsec_…x7Qk`, `****x7Qk`, `whsec_ab...x7Qk` and similar masks.
    """
    head, *rest = re.split(r"[^\w+/=-]+|x{4,}", hint or "", flags=re.ASCII)
    tail = rest[-1] if rest else head
    start = head.removeprefix("whsec_") if rest else ""
    if (start and not head.startswith("whsec_")) or max(len(start), len(tail)) < _SHORTEST_HINT:
        return None
    return value.partition("whsec_")[2].startswith(start) and value.endswith(tail)


def _checked(text: str | None) -> Iterator[tuple[str, str]]:
    """Yield each value with what is wrong with it, or an empty text."""
    for value in (text or "").split():
        try:
            decode_named_secret(value)
        except InvalidSecret as error:
            yield value, str(error)
        else:
            yield value, ""
