"""Each rejection: its outcome, status and Retry-After."""

import inspect

import pytest

import openai_webhooks
from receiver import rejections
from receiver.rejections import REJECTIONS, Rejection


@pytest.mark.parametrize("error", REJECTIONS, ids=lambda error: error.__name__)
def test_outcome_is_the_name_of_the_exception(error: type[Exception]) -> None:
    assert REJECTIONS[error].outcome == error.__name__


def test_statuses_and_retry_after() -> None:
    assert {tuple(rejection) for rejection in REJECTIONS.values()} == {
        ("Malformed", 400, None),
        ("Unverified", 401, None),
        ("InProgress", 409, 10),
        ("TooLarge", 413, None),
        ("PublishFailed", 503, 5),
        ("NotConfigured", 503, 30),
    }


def test_every_exception_has_a_rejection() -> None:
    ours = {error for _, error in inspect.getmembers(rejections, _is_exception)}
    assert ours == REJECTIONS.keys()
    # A caller of the core also meets InvalidSecret. In the receiver, signing_keys.py turns it into NotConfigured.
    core = {error for _, error in inspect.getmembers(openai_webhooks, _is_exception)}
    assert core - ours == {openai_webhooks.InvalidSecret, openai_webhooks.WebhookError}


def test_openai_retries_after_every_status() -> None:
    # No 3xx: OpenAI does not follow it. No 410: a Standard Webhooks sender disables the endpoint.
    assert all(400 <= rejection.status < 600 and rejection.status != 410 for rejection in REJECTIONS.values())
    assert isinstance(REJECTIONS[openai_webhooks.Malformed], Rejection)


def _is_exception(member: object) -> bool:
    return isinstance(member, type) and issubclass(member, Exception)
