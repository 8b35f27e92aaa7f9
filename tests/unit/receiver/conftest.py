"""Secrets Manager without a network: a real client whose answers are made here."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest

from openai_webhooks import decode_secret
from receiver.signing_keys import SigningKeys

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient

SECRET_ID: Final = "arn:aws:secretsmanager:us-east-1:123456789012:secret:SigningSecret-AbCdEf"


class Vault:
    """A secret, with a value under each of its stages, and the keys that the function gets from it."""

    def __init__(self) -> None:
        self.stages: dict[str, str | bytes] = {}
        self.fails: Callable[[str], object] = lambda _stage: None
        """Called with the stage that is about to be read; raises, or returns an error's code."""
        self.reads: list[str] = []
        """The stages that were read."""
        self.failures: list[str] = []
        """What `on_failure` was told."""
        self._client = boto3.client(
            "secretsmanager", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
        )
        self._client.meta.events.register("provide-client-params", self._listen)
        self._client.meta.events.register("before-call", self._answer)
        self.start_instance()

    def start_instance(self) -> None:
        """Forget all keys, as a new instance of the function knows none."""
        self.keys = SigningKeys(self._client, SECRET_ID, self.failures.append)

    def put(self, value: str | bytes) -> None:
        """Make the value AWSCURRENT, and the one before it AWSPREVIOUS, as Secrets Manager does."""
        self.stages["AWSPREVIOUS"], self.stages["AWSCURRENT"] = self.stages["AWSCURRENT"], value

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

    def accepts(self, secrets: str, now: int) -> bool:
        """Whether a delivery that was signed with each of the secrets would be accepted, with all that it causes."""
        signers = [decode_secret(secret) for secret in secrets.split()]
        return any(key in signers for key in self.keys.candidates(now))

    def reads_since(self) -> list[str]:
        """The stages that were read since the last look."""
        reads, self.reads[:] = self.reads[:], []
        return reads


@pytest.fixture
def vault() -> Vault:
    return Vault()


@pytest.fixture
def eventbridge() -> Iterator["EventBridgeClient"]:
    client = boto3.client("events", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")
    yield client
    client.close()
