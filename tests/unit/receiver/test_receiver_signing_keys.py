"""When Secrets Manager is read, which keys come of it, and what happens when it fails.

Rotations are in test_receiver_rotation_schedules.py.
"""

import itertools
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import ConnectTimeoutError

from openai_webhooks import NotConfigured, decode_secret

if TYPE_CHECKING:
    from tests.unit.receiver.conftest import Vault

A = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
B = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
C = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FORGED = "whsec_" + "Zm9yZ2Vk" * 4
PLACEHOLDER = "Placeholder until the signing secret is stored. canary-7d1f"

NOW = 1_750_861_210
SEARCH = ["AWSPENDING", "AWSPREVIOUS"]


@pytest.fixture(autouse=True)
def current_is_a(vault: "Vault") -> None:
    vault.stages["AWSCURRENT"] = A


class TestCurrent:
    def test_nothing_is_read_before_a_key_is_asked_for(self, vault: "Vault") -> None:
        candidates = vault.keys.candidates(NOW)
        assert vault.reads == []
        assert next(candidates) == decode_secret(A)
        assert vault.reads == ["AWSCURRENT"]

    def test_it_is_read_every_five_minutes_at_most(self, vault: "Vault") -> None:
        for now in range(NOW, NOW + 900):
            assert vault.accepts(A, now)
            assert vault.reads_since() == (["AWSCURRENT"] if (now - NOW) % 300 == 0 else [])

    @pytest.mark.parametrize(
        "value",
        [
            pytest.param(f"{A} {B} {C}", id="blanks"),
            pytest.param(f"{A}\n{B}\n{C}\n", id="lines"),
            pytest.param(f"\r\n  {A}\r\n\t{B}  {C}", id="any white space"),
        ],
    )
    def test_several_secrets_are_tried_in_their_order(self, value: str, vault: "Vault") -> None:
        vault.stages["AWSCURRENT"] = value
        candidates = vault.keys.candidates(NOW)
        assert list(itertools.islice(candidates, 3)) == [decode_secret(secret) for secret in (A, B, C)]
        assert vault.reads == ["AWSCURRENT"]

    def test_a_new_value_replaces_the_old_one_at_the_next_read(self, vault: "Vault") -> None:
        assert vault.accepts(A, NOW)
        vault.stages["AWSCURRENT"] = B
        assert vault.accepts(A, NOW + 299)
        assert not vault.accepts(A, NOW + 300)
        assert vault.accepts(B, NOW + 300)


class TestSearch:
    def test_a_key_that_is_not_known_is_looked_for_everywhere(self, vault: "Vault") -> None:
        assert vault.accepts(A, NOW)
        vault.reads_since()
        assert not vault.accepts(FORGED, NOW + 1)
        assert vault.reads_since() == ["AWSCURRENT", *SEARCH]

    def test_what_was_read_in_this_second_is_not_read_again(self, vault: "Vault") -> None:
        assert not vault.accepts(FORGED, NOW)
        assert vault.reads_since() == ["AWSCURRENT", *SEARCH]

    def test_it_takes_place_once_a_minute_at_most(self, vault: "Vault") -> None:
        for now in range(NOW, NOW + 900):
            assert not vault.accepts(FORGED, now)
            assert vault.reads_since() == (["AWSCURRENT", *SEARCH] if (now - NOW) % 60 == 0 else [])

    def test_genuine_deliveries_between_forged_ones_are_accepted(self, vault: "Vault") -> None:
        vault.stages["AWSPREVIOUS"] = B
        for now in range(NOW, NOW + 900):
            assert not vault.accepts(FORGED, now)
            assert vault.accepts(A, now)
            assert vault.accepts(B, now)
        assert len(vault.reads) == 15 * 3

    @pytest.mark.parametrize("stage", ["AWSCURRENT", *SEARCH])
    def test_a_secret_is_found_in_each_stage(self, stage: str, vault: "Vault") -> None:
        assert vault.accepts(A, NOW)
        vault.stages[stage] = f"{B} {C}"
        assert vault.accepts(C, NOW + 1)
        assert vault.accepts(B, NOW + 1)

    def test_no_key_is_tried_twice_without_need(self, vault: "Vault") -> None:
        vault.stages |= {"AWSPENDING": B, "AWSPREVIOUS": C}
        keys = [decode_secret(secret) for secret in (A, B, C)]
        # The search comes last, and after it every key again: any may be new.
        assert list(vault.keys.candidates(NOW)) == [keys[0], *keys]
        assert list(vault.keys.candidates(NOW + 1)) == keys

    def test_what_it_found_is_remembered(self, vault: "Vault") -> None:
        vault.stages["AWSPREVIOUS"] = B
        assert vault.accepts(B, NOW)
        vault.reads_since()
        for now in range(NOW, NOW + 300):
            assert vault.accepts(B, now)
        assert vault.reads_since() == []
        # Five minutes on it is looked for again, and AWSCURRENT is due as well.
        assert vault.accepts(B, NOW + 300)
        assert vault.reads_since() == ["AWSCURRENT", *SEARCH]

    def test_what_is_gone_is_forgotten(self, vault: "Vault") -> None:
        vault.stages["AWSPREVIOUS"] = B
        assert vault.accepts(B, NOW)
        del vault.stages["AWSPREVIOUS"]
        accepted = [now - NOW for now in range(NOW, NOW + 3600) if vault.accepts(B, now)]
        assert max(accepted) < 300 + 60

    @pytest.mark.parametrize("stage", SEARCH)
    @pytest.mark.parametrize("value", [PLACEHOLDER, "", " "])
    def test_a_stage_that_holds_no_secret_is_passed_over(self, stage: str, value: str, vault: "Vault") -> None:
        vault.stages |= dict.fromkeys(SEARCH, B) | {stage: value}
        assert vault.accepts(B, NOW)
        assert vault.failures == []


class TestFailure:
    def test_known_keys_stay_in_use(self, vault: "Vault") -> None:
        assert vault.accepts(A, NOW)
        vault.fails = lambda _: "InternalServiceError"
        vault.reads_since()
        for now in range(NOW, NOW + 3600):
            assert vault.accepts(A, now)
        # When they are due, and a minute after each failure.
        assert vault.reads_since() == ["AWSCURRENT"] * 55
        assert vault.failures == [unread("InternalServiceError")] * 55

    def test_also_those_of_other_stages(self, vault: "Vault") -> None:
        vault.stages["AWSPREVIOUS"] = B
        assert vault.accepts(B, NOW)
        vault.fails = lambda _: "InternalServiceError"
        for now in range(NOW, NOW + 3600):
            assert vault.accepts(B, now)

    @pytest.mark.parametrize("stage", SEARCH)
    def test_of_one_stage_keeps_what_is_known_of_both(self, stage: str, vault: "Vault") -> None:
        vault.stages |= {"AWSPENDING": B, "AWSPREVIOUS": C}
        assert vault.accepts(C, NOW)
        vault.fails = lambda read: "ThrottlingException" if read == stage else None
        assert not vault.accepts(FORGED, NOW + 60)
        assert vault.failures == ["ThrottlingException from Secrets Manager"]
        assert vault.accepts(B, NOW + 61)
        assert vault.accepts(C, NOW + 61)

    def test_an_end_of_it_is_noticed(self, vault: "Vault") -> None:
        assert vault.accepts(A, NOW)
        vault.fails = lambda _: "InternalServiceError"
        assert vault.accepts(A, NOW + 300)
        vault.fails = lambda _: None
        vault.stages["AWSCURRENT"] = B
        assert vault.accepts(A, NOW + 359)
        assert not vault.accepts(A, NOW + 360)
        assert vault.accepts(B, NOW + 360)

    def test_a_search_goes_on_as_soon_as_it_is_over(self, vault: "Vault") -> None:
        assert vault.accepts(A, NOW)
        vault.stages["AWSPREVIOUS"] = B
        vault.fails = lambda _: "InternalServiceError"
        assert vault.accepts(A, NOW + 300)
        vault.fails = lambda _: None
        assert vault.accepts(B, NOW + 301)

    def test_a_network_that_fails_is_told_of_by_its_class_and_endpoint(self, vault: "Vault") -> None:
        def fail(_stage: str) -> object:
            raise ConnectTimeoutError(endpoint_url="https://aws/")

        assert vault.accepts(A, NOW)
        vault.fails = fail
        assert vault.accepts(A, NOW + 300)
        assert vault.failures == [unread("ConnectTimeoutError (https://aws/)")]

    def test_one_delivery_waits_for_one_failure(self, vault: "Vault") -> None:
        """Each costs about 1.5 s when Secrets Manager hangs, and the table and the bus can hang as well."""
        vault.stages["AWSPREVIOUS"] = B
        assert vault.accepts(B, NOW)
        vault.fails = lambda _: "InternalServiceError"
        vault.reads_since()
        assert vault.accepts(B, NOW + 300)
        assert len(vault.reads_since()) == 1


def unread(error: str) -> str:
    return (
        f"{error} from Secrets Manager. Check that the function can reach it and may secretsmanager:GetSecretValue "
        "on arn:aws:secretsmanager:us-east-1:123456789012:secret:SigningSecret-AbCdEf"
    )


class TestNoKey:
    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            (PLACEHOLDER, "the signing secret does not start with `whsec_`: store it as OpenAI shows it"),
            ("", "the secret is empty"),
            (A.encode(), "the secret is empty"),  # SecretBinary
            (" \n", "the secret is empty"),
            (f"v1,{A}", "the signing secret starts with `v1,`: store it from `whsec_` on"),
            (f"{A}\ncanary-7d1f", "the signing secret does not start with `whsec_`: store it as OpenAI shows it"),
            (
                "whsec_canary",
                "the signing secret is not base64 of 24 to 64 bytes: store it whole, as OpenAI shows it",
            ),
        ],
    )
    def test_a_value_that_is_none_is_a_matter_of_configuration(self, value: str, problem: str, vault: "Vault") -> None:
        vault.stages["AWSCURRENT"] = value
        with pytest.raises(NotConfigured) as raised:
            vault.accepts(A, NOW)
        assert str(raised.value) == (
            f"{problem}. Store the endpoint's signing secret: aws secretsmanager put-secret-value "
            "--secret-id arn:aws:secretsmanager:us-east-1:123456789012:secret:SigningSecret-AbCdEf "
            "--secret-string whsec_…"
        )
        assert vault.failures == []

    @pytest.mark.parametrize("code", ["ResourceNotFoundException", "AccessDeniedException", "ThrottlingException"])
    def test_neither_is_a_service_that_cannot_be_read(self, code: str, vault: "Vault") -> None:
        vault.fails = lambda _: code
        with pytest.raises(NotConfigured) as raised:
            vault.accepts(A, NOW)
        assert str(raised.value) == unread(code)

    def test_it_is_looked_for_every_five_seconds(self, vault: "Vault") -> None:
        vault.stages["AWSCURRENT"] = PLACEHOLDER
        for now in range(NOW, NOW + 60):
            with pytest.raises(NotConfigured):
                vault.accepts(A, now)
            assert vault.reads_since() == (["AWSCURRENT"] if (now - NOW) % 5 == 0 else [])
        vault.stages["AWSCURRENT"] = A
        assert vault.accepts(A, NOW + 60)

    def test_the_other_stages_do_not_stand_in_for_the_current_one(self, vault: "Vault") -> None:
        vault.stages |= {"AWSCURRENT": PLACEHOLDER, "AWSPENDING": B, "AWSPREVIOUS": C}
        with pytest.raises(NotConfigured):
            vault.accepts(B, NOW)

    def test_a_placeholder_in_the_place_of_a_known_secret_is_told_of_and_passed_over(self, vault: "Vault") -> None:
        assert vault.accepts(A, NOW)
        vault.stages["AWSCURRENT"] = PLACEHOLDER
        assert vault.accepts(A, NOW + 300)
        (failure,) = vault.failures
        assert failure.startswith("the signing secret does not start with `whsec_`: store it as OpenAI shows it. Store")
