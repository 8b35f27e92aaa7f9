"""The API key that the examples' functions share: which secrets are one, and how long it is kept."""

from types import ModuleType
from typing import Any, Final
from unittest.mock import Mock

import pytest

NAME: Final = "openai-api-key"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("OPENAI_API_KEY_SECRET_NAME", NAME)
    from openai_webhooks_subscriber import openai_api  # noqa: PLC0415  # it creates a client, which needs a region

    return openai_api


@pytest.fixture
def secrets(module: Any, monkeypatch: pytest.MonkeyPatch) -> Mock:
    secrets = Mock()
    monkeypatch.setattr(module, "_SECRETS", secrets)
    return secrets


def test_white_space_around_key_is_removed(module: Any, secrets: Mock) -> None:
    for stored in ("sk-proj-1", "sk-proj-1\n", "  sk-proj-1\r\n"):
        secrets.get.return_value = stored

        assert module.api_key() == "sk-proj-1", stored


def test_secret_without_key_is_refused_without_showing_it(module: Any, secrets: Mock) -> None:
    for stored in ("", "proj-1", "sk-a b", "sk-a\nb", "sk-é", "sk-\x00", '{"key": "sk-1"}'):
        secrets.get.return_value = stored

        with pytest.raises(module.NoApiKey, match=f"put-secret-value --secret-id {NAME} ") as refusal:
            module.api_key()
        assert not stored or stored not in str(refusal.value)


def test_key_is_kept_for_5_minutes(module: Any, secrets: Mock) -> None:
    secrets.get.return_value = "sk-1"
    for refresh in (False, True):
        module.api_key(refresh=refresh)

        secrets.get.assert_called_with(NAME, max_age=300, force_fetch=refresh)
