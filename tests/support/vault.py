"""A signing secret whose staging labels a test sets, behind a real client of Secrets Manager that makes no request."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Final

import boto3

from openai_webhooks import decode_secret
from receiver.signing_keys import SigningKeys

SECRET_ID: Final = "arn:aws:secretsmanager:us-east-1:123456789012:secret:SigningSecret-AbCdEf"


class Vault:
    """A secret with a value for each staging label, and the keys that the function reads from it."""

    def __init__(self) -> None:
        self.stages: dict[str, str | bytes] = {}
        self.fails: Callable[[str], object] = lambda _stage: None
        """Called with the label that is about to be read. It raises, or returns an error's code."""
        self.reads: list[str] = []
        """The labels that were read."""
        self.failures: list[str] = []
        """What `on_failure` was called with."""
        self.malformed: list[str] = []
        """What `on_malformed` was called with."""
        self._client = boto3.client(
            "secretsmanager", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        self._client.meta.events.register("provide-client-params", self._listen)
        self._client.meta.events.register("before-call", self._answer)
        self.start_instance()

    def start_instance(self) -> None:
        """Forget all keys, like a new instance of the function."""
        self.keys = SigningKeys(
            self._client, secret_id=SECRET_ID, on_failure=self.failures.append, on_malformed=self.malformed.append
        )

    def put(self, value: str | bytes) -> None:
        """Make the value AWSCURRENT, and the value before it AWSPREVIOUS, as Secrets Manager does."""
        self.stages["AWSPREVIOUS"], self.stages["AWSCURRENT"] = self.stages["AWSCURRENT"], value

    def accepts(self, secrets: str, now: int) -> bool:
        """Return whether the receiver would accept a delivery that each of the secrets signed."""
        signers = [decode_secret(secret) for secret in secrets.split()]
        return any(key.key in signers for key in self.keys.load(now)) or any(
            key.key in signers for key in self.keys.refresh(now)
        )

    def new_reads(self) -> list[str]:
        """Return the labels that were read since the last call."""
        reads, self.reads[:] = self.reads[:], []
        return reads

    def _listen(self, params: dict[str, str], **_: object) -> None:
        assert params["SecretId"] == SECRET_ID
        self.reads.append(params["VersionStage"])

    def _answer(self, **_: object) -> Any:
        stage = self.reads[-1]
        code = self.fails(stage) or (None if stage in self.stages else "ResourceNotFoundException")
        if code:
            error = {"Error": {"Code": code, "Message": "canary-7d1f"}, "ResponseMetadata": {}}
            return SimpleNamespace(status_code=400), error
        value = self.stages[stage]
        return SimpleNamespace(status_code=200), {"SecretString" if isinstance(value, str) else "SecretBinary": value}
