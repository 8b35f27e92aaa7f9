"""The active signing keys: read from Secrets Manager rarely, and without a gap during a rotation."""

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from openai_webhooks import InvalidSecret, decode_named_secret
from receiver.aws import AwsError, error_code
from receiver.rejections import NotConfigured

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

# All in seconds.
MAX_AGE = 300  # Keys are used this long before the secret is read again.
REFRESH_PERIOD = 10  # There are at most MAX_REFRESHES in any such period, because a forged delivery can cause one.
RETRY_INTERVAL = 60  # The least time between two reads while the secret cannot be read, if keys are known.
RETRY_INTERVAL_WITHOUT_KEYS = 5

MAX_REFRESHES = 2  # More than one, so that a single forged or early delivery does not delay a rotation.


class SigningKey(NamedTuple):
    """A key, and the name of the endpoint that signs with it."""

    endpoint: str
    """Empty if the secret has no name."""
    key: bytes


class SigningKeys:
    """The keys in a secret that contains one or more `whsec_…` or `NAME=whsec_…`, separated by white space.

    `on_failure` is called with the error when a refresh fails and the cached keys stay in use. `on_malformed` is called
    with what is wrong with a malformed value among valid ones. (Powertools' Parameters utility does not fit: its cache
    does not distinguish the staging labels of a secret.)
    """

    def __init__(
        self,
        client: "SecretsManagerClient",
        *,
        secret_id: str,
        on_failure: Callable[[str], None],
        on_malformed: Callable[[str], None],
    ) -> None:
        self._client = client
        self._secret_id = secret_id
        self._on_failure = on_failure
        self._on_malformed = on_malformed
        self._current: list[SigningKey] = []
        self._others: list[SigningKey] = []  # of AWSPENDING and AWSPREVIOUS
        self._problem = ""  # why the last attempt to read AWSCURRENT failed
        # The last attempts to read, in Unix seconds. A failed attempt keeps the known keys.
        self._current_tried_at = 0
        self._others_tried_at = 0
        self._refreshes: deque[int] = deque([0] * MAX_REFRESHES, maxlen=MAX_REFRESHES)  # the last ones, in Unix seconds

    def load(self, now: int) -> list[SigningKey]:
        """Return the known keys, the likeliest first. `now` is in Unix seconds.

        AWSCURRENT is read if its keys are too old. Raises NotConfigured if there is no key.
        """
        if now - self._current_tried_at >= self._interval:
            self._read_current(now)
        if not self._current:
            raise NotConfigured(self._problem)
        others_expired = now - self._others_tried_at >= MAX_AGE
        return self._current if others_expired else self._current + self._others

    def refresh(self, now: int) -> list[SigningKey]:
        """Read AWSCURRENT, AWSPENDING and AWSPREVIOUS again and return their keys, so that a rotation needs no restart.

        Keys that cannot be read stay as they were. Returns no keys if there were MAX_REFRESHES in the last
        REFRESH_PERIOD.
        """
        if now - self._refreshes[0] < REFRESH_PERIOD:
            return []
        self._refreshes.append(now)
        # A delivery waits for one failure of Secrets Manager at most, and `load` may have met it already.
        if not (self._problem and self._current_tried_at == now):
            self._read_current(now)
        self._others_tried_at = now
        if not self._problem:
            self._read_others()
        return self._current + self._others

    @property
    def _interval(self) -> int:
        if not self._problem:
            return MAX_AGE
        return RETRY_INTERVAL if self._current else RETRY_INTERVAL_WITHOUT_KEYS

    def _read_current(self, now: int) -> None:
        self._current_tried_at = now
        try:
            self._current = self._read("AWSCURRENT")
        except InvalidSecret as error:
            self._problem = (
                f"{error}. To store the endpoint's signing secret, run this, paste the secret, then press Enter and "
                f"Ctrl-D: aws secretsmanager put-secret-value --region {self._client.meta.region_name} "
                f"--secret-id {self._secret_id} --secret-string file:///dev/stdin"
            )
        except AwsError as error:
            self._problem = (
                f"{error_code(error)} from Secrets Manager. Check that the function can reach it and that its role "
                f"allows secretsmanager:GetSecretValue on {self._secret_id}"
            )
        else:
            self._problem = ""
            return
        if self._current:
            self._on_failure(self._problem)

    def _read_others(self) -> None:
        try:
            self._others = [*self._read_other("AWSPENDING"), *self._read_other("AWSPREVIOUS")]
        except AwsError as error:
            self._on_failure(f"{error_code(error)} from Secrets Manager")

    def _read_other(self, stage: str) -> list[SigningKey]:
        try:
            return self._read(stage)
        except (self._client.exceptions.ResourceNotFoundException, InvalidSecret):
            return []  # There is no such version, or it is the stack's placeholder.

    def _read(self, stage: str) -> list[SigningKey]:
        # Name the stage always: without one, AWS returns AWSCURRENT, but some emulators return the newest version.
        value = self._client.get_secret_value(SecretId=self._secret_id, VersionStage=stage)
        keys: list[SigningKey] = []
        malformed: dict[int, InvalidSecret] = {}
        for position, secret in enumerate(value.get("SecretString", "").split(), start=1):
            try:
                keys.append(SigningKey(*decode_named_secret(secret)))
            except InvalidSecret as error:
                malformed[position] = error
        if not keys:
            raise next(iter(malformed.values()), InvalidSecret("the secret is empty"))
        for position, problem in malformed.items():
            self._on_malformed(f"value {position} of {stage}: {problem}")
        return keys
