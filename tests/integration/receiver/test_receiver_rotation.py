"""The signing secret in Secrets Manager: how often it is read, and how it changes without a gap.

Every schedule of a rotation is in tests/unit/receiver/test_receiver_rotation_schedules.py.
"""

from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.receiver.conftest import Receiver, Stack

OLD = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
NEW = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
THIRD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def stages_read(receiver: "Receiver") -> list[str]:
    """The stages that were read since the last look."""
    stages = [parameters["VersionStage"] for parameters in receiver.called("GetSecretValue")]
    receiver.calls.clear()
    return stages


class TestReads:
    def test_once_in_five_minutes(self, receiver: "Receiver") -> None:
        reads = []
        for second in (0, 1, 298, 1, 1, 298, 1):
            receiver.clock.advance(second)
            assert receiver.deliver(webhook_id=f"wh_{receiver.clock.now}").status == 200
            reads.append(stages_read(receiver))
        # At 0, 1, 299, 300, 301, 599 and 600 s.
        assert reads == [["AWSCURRENT"], [], [], ["AWSCURRENT"], [], [], ["AWSCURRENT"]]

    def test_a_flood_of_forgeries_costs_a_search_a_minute(self, receiver: "Receiver") -> None:
        minutes, forgeries = 10, 1_000
        forgery = {"webhook-signature": "v1,forged"}
        statuses = set()
        for _ in range(forgeries):
            statuses.add(receiver.deliver(headers=forgery).status)
            receiver.clock.advance(60 * minutes / forgeries)
        assert statuses == {401}
        # Of all calls to AWS.
        stages = Counter((call.operation, call.parameters["VersionStage"]) for call in receiver.calls)
        assert stages == {("GetSecretValue", stage): minutes for stage in ("AWSCURRENT", "AWSPENDING", "AWSPREVIOUS")}

    def test_none_for_what_cannot_be_genuine(self, receiver: "Receiver") -> None:
        not_genuine: dict[str, dict[str, str | None]] = {
            "no id": {"webhook-id": None},
            "no signature": {"webhook-signature": None},
            "another scheme": {"webhook-signature": "v1a,x"},
            "no timestamp": {"webhook-timestamp": "now"},
            "a stale timestamp": {"webhook-timestamp": "1750860909"},
            "a timestamp of the future": {"webhook-timestamp": "1750861511"},
        }
        for case, headers in not_genuine.items():
            assert receiver.deliver(headers=headers).status == 401, case
            assert receiver.calls == [], case


class TestRotation:
    def test_both_secrets_are_accepted_as_soon_as_the_current_one_is_replaced(
        self, receiver: "Receiver", stack: "Stack"
    ) -> None:
        assert receiver.deliver(webhook_id="wh_1").status == 200
        # Secrets Manager makes the old version AWSPREVIOUS.
        stack.store(NEW)
        for number, secret in enumerate([OLD, NEW, OLD, NEW]):
            receiver.clock.advance(1)
            assert receiver.deliver(webhook_id=f"wh_after_{number}", secret=secret).status == 200
        receiver.clock.advance(300)
        for number, secret in enumerate([NEW, OLD]):
            assert receiver.deliver(webhook_id=f"wh_later_{number}", secret=secret).status == 200

    def test_a_secret_that_is_replaced_in_the_second_in_which_it_was_read(
        self, receiver: "Receiver", stack: "Stack"
    ) -> None:
        assert receiver.deliver(webhook_id="wh_before").status == 200
        stack.store(NEW)
        assert receiver.deliver(webhook_id="wh_after", secret=NEW).status == 200

    def test_a_pending_secret_is_accepted_before_it_becomes_the_current_one(
        self, receiver: "Receiver", stack: "Stack"
    ) -> None:
        assert receiver.deliver(webhook_id="wh_1").status == 200
        version = stack.store(NEW, "AWSPENDING")
        for number, secret in enumerate([NEW, OLD]):
            receiver.clock.advance(1)
            assert receiver.deliver(webhook_id=f"wh_pending_{number}", secret=secret).status == 200
        [current] = [
            version_id
            for version_id, stages in stack.secretsmanager.describe_secret(SecretId=stack.secret_arn)[
                "VersionIdsToStages"
            ].items()
            if "AWSCURRENT" in stages
        ]
        stack.secretsmanager.update_secret_version_stage(
            SecretId=stack.secret_arn,
            VersionStage="AWSCURRENT",
            MoveToVersionId=version,
            RemoveFromVersionId=current,
        )
        for minute in range(10):
            receiver.clock.advance(60)
            for secret in (OLD, NEW):
                assert receiver.deliver(webhook_id=f"wh_{minute}_{secret}", secret=secret).status == 200

    def test_the_secret_before_the_previous_one_is_refused(self, receiver: "Receiver", stack: "Stack") -> None:
        stack.store(NEW)
        stack.store(THIRD)
        assert [receiver.deliver(webhook_id=secret, secret=secret).status for secret in (THIRD, NEW, OLD)] == [
            200,
            200,
            401,
        ]

    @pytest.mark.parametrize("separator", [" ", "\r\n"])
    def test_several_secrets_at_once(self, separator: str, receiver: "Receiver", stack: "Stack") -> None:
        stack.store(separator.join(["", OLD, NEW, THIRD, ""]))
        for secret in (THIRD, OLD, NEW):
            assert receiver.deliver(webhook_id=secret, secret=secret).status == 200
        assert stages_read(receiver) == ["AWSCURRENT"]


class TestFirstSecret:
    def test_it_is_in_use_five_seconds_after_it_was_stored(self, receiver: "Receiver", stack: "Stack") -> None:
        stack.store("Placeholder until the signing secret is stored.")
        assert receiver.deliver().status == 503
        stack.store(OLD)
        receiver.clock.advance(4)
        assert receiver.deliver().status == 503
        receiver.clock.advance(1)
        assert receiver.deliver().status == 200
        assert stages_read(receiver) == ["AWSCURRENT", "AWSCURRENT"]

    def test_until_then_the_log_names_the_command(self, receiver: "Receiver", stack: "Stack") -> None:
        stack.store("Placeholder until the signing secret is stored.")
        answer = receiver.deliver()
        assert (answer.status, answer.body) == (503, {"error": "NotConfigured"})
        assert answer.log["reason"] == (
            "the signing secret does not start with `whsec_`: store it as OpenAI shows it. Store the endpoint's "
            f"signing secret: aws secretsmanager put-secret-value --secret-id {stack.secret_arn} "
            "--secret-string whsec_…"
        )


class TestOutage:
    def test_known_keys_stay_in_use(self, receiver: "Receiver", stack: "Stack") -> None:
        assert receiver.deliver(webhook_id="wh_1").status == 200
        receiver.refuse("GetSecretValue")
        logged = []
        for minute in range(10):
            receiver.clock.advance(60)
            answer = receiver.deliver(webhook_id=f"wh_minute_{minute}")
            assert answer.status == 200
            logged += [line["reason"] for line in answer.logs if "known keys stay in use" in line["message"]]
        # From the fifth minute on, once a minute.
        assert [reason.partition(".")[0] for reason in logged] == ["ThrottlingException from Secrets Manager"] * 6
        assert len(stack.arrived()) == 11

    def test_a_secret_that_is_replaced_by_none_does_not_stop_the_known_one(
        self, receiver: "Receiver", stack: "Stack"
    ) -> None:
        assert receiver.deliver(webhook_id="wh_1").status == 200
        stack.store("canary-7d1f")
        receiver.clock.advance(300)
        answer = receiver.deliver(webhook_id="wh_2")
        assert answer.status == 200
        assert answer.logs[0]["reason"].startswith("the signing secret does not start with `whsec_`")
        assert "canary-7d1f" not in "".join(receiver.output)
