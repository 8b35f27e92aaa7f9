"""Each rejection: its outcome, status and Retry-After."""

import inspect

import openai_webhooks
from openai_webhooks import Unverified
from receiver import rejections
from receiver.rejections import REJECTIONS, rejection_of
from tests.support.receiver_instance import ReceiverInstance
from tests.support.scenarios import ANSWERS


def test_rejection_has_name_status_and_retry_after() -> None:
    accepted = {"Published", "Duplicate"}
    assert {error.__name__: rejection for error, rejection in REJECTIONS.items()} == {
        outcome: (outcome, *answer) for outcome, answer in ANSWERS.items() if outcome not in accepted
    }


def test_every_exception_has_a_rejection() -> None:
    ours = {error for _, error in inspect.getmembers(rejections, _is_exception)}
    assert ours == REJECTIONS.keys()
    # A caller of the core also meets InvalidSecret. In the receiver, signing_keys.py turns it into NotConfigured.
    core = {error for _, error in inspect.getmembers(openai_webhooks, _is_exception)}
    assert core - ours == {openai_webhooks.InvalidSecret, openai_webhooks.WebhookError}


def test_subclass_is_rejected_like_its_base_class(receiver: ReceiverInstance) -> None:
    class Expired(Unverified):
        pass

    def refuse(*_: object) -> str:
        raise Expired("too late")

    receiver.receiver.receive = refuse  # type: ignore[assignment,method-assign]  # a part that raises a subclass
    answer = receiver.deliver()
    assert (answer.status, answer.body, answer.line["reason"]) == (401, {"error": "Unverified"}, "too late")
    assert rejection_of(Expired()) is REJECTIONS[Unverified]


def test_openai_retries_after_every_status() -> None:
    # No 3xx: OpenAI does not follow it. No 410: a Standard Webhooks sender disables the endpoint.
    assert all(400 <= rejection.status < 600 and rejection.status != 410 for rejection in REJECTIONS.values())


def _is_exception(member: object) -> bool:
    return isinstance(member, type) and issubclass(member, Exception)
