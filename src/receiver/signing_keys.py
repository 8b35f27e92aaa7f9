"""The active signing keys: read from Secrets Manager rarely, and through a rotation without a gap."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from openai_webhooks import NotConfigured, decode_secret
from receiver.aws import AwsError, reason

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

# All in seconds.
MAX_AGE = 300  # a key is used this long before its secret is read again
SEARCH_INTERVAL = 60  # between two searches for a key that matches: forgers can trigger them
RETRY_INTERVAL = 5  # between two reads while there is no key at all


class SigningKeys:
    """The keys in a secret that holds one or more `whsec_…`, separated by white space.

    `on_failure` is called with what went wrong when known keys go on being used because of it. Powertools'
    Parameters doesn't serve here: its cache doesn't tell the version stages of a secret apart.
    """

    def __init__(self, client: "SecretsManagerClient", secret_id: str, on_failure: Callable[[str], None]) -> None:
        self._client = client
        self._secret_id = secret_id
        self._on_failure = on_failure
        self._current: list[bytes] = []
        self._others: list[bytes] = []
        self._problem = ""
        self._due_at = self._searched_at = 0

    def candidates(self, now: int) -> Iterator[bytes]:
        """Every key that may have signed a delivery, likeliest first; `now` in Unix seconds.

        AWSCURRENT comes from memory. Only when it is used up without a match are AWSPENDING and AWSPREVIOUS
        looked for, and AWSCURRENT read afresh, so that a rotation needs no restart. Raises NotConfigured
        without a key.
        """
        if due := now >= self._due_at:
            self._read_current(now)
        if not self._current:
            raise NotConfigured(self._problem)
        yield from self._current
        if now - self._searched_at < MAX_AGE:
            yield from self._others
        if now - self._searched_at >= SEARCH_INTERVAL:
            if not due:
                self._read_current(now)
            self._search(now)
            yield from self._current
            yield from self._others

    def _search(self, now: int) -> None:
        self._searched_at = now
        if self._problem:
            return  # one failure is enough for a delivery to wait for
        try:
            self._others = [*self._read_other("AWSPENDING"), *self._read_other("AWSPREVIOUS")]
        except AwsError as error:
            self._on_failure(f"{reason(error)} from Secrets Manager")

    def _read_current(self, now: int) -> None:
        try:
            self._current = self._read("AWSCURRENT")
        except NotConfigured as error:
            self._problem = (
                f"{error}. Store the endpoint's signing secret: aws secretsmanager put-secret-value "
                f"--secret-id {self._secret_id} --secret-string whsec_…"
            )
        except AwsError as error:
            self._problem = (
                f"{reason(error)} from Secrets Manager. Check that the function can reach it and may "
                f"secretsmanager:GetSecretValue on {self._secret_id}"
            )
        else:
            self._problem = ""
            self._due_at = now + MAX_AGE
            return
        self._due_at = now + (SEARCH_INTERVAL if self._current else RETRY_INTERVAL)
        if self._current:
            self._on_failure(self._problem)

    def _read_other(self, stage: str) -> list[bytes]:
        try:
            return self._read(stage)
        except (self._client.exceptions.ResourceNotFoundException, NotConfigured):
            return []  # there is no such version, or it is the stack's placeholder

    def _read(self, stage: str) -> list[bytes]:
        # The stage is always named: without one, AWS means AWSCURRENT and some emulators the newest version.
        value = self._client.get_secret_value(SecretId=self._secret_id, VersionStage=stage)
        keys = [decode_secret(secret) for secret in value.get("SecretString", "").split()]
        if not keys:
            raise NotConfigured("the secret is empty")
        return keys
