"""When the signing secret is read, which keys it gives, and what happens when Secrets Manager fails.

Rotations are in test_rotation.py.
"""

import pytest
from botocore.exceptions import ConnectTimeoutError

from openai_webhooks import decode_secret
from receiver.rejections import NotConfigured
from receiver.signing_keys import SigningKey
from tests.support.vault import SECRET_ID, Vault

A = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
B = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
C = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
FORGED = "whsec_" + "Zm9yZ2Vk" * 4
PLACEHOLDER = "Placeholder until the signing secret is stored. canary-7d1f"

NOW = 1_750_861_210
OTHER_STAGES = ["AWSPENDING", "AWSPREVIOUS"]
REFRESH = ["AWSCURRENT", *OTHER_STAGES]


@pytest.fixture
def vault() -> Vault:
    """A vault with A as the current secret."""
    vault = Vault()
    vault.stages["AWSCURRENT"] = A
    return vault


def keys(*secrets: str) -> list[SigningKey]:
    return [SigningKey("", decode_secret(secret)) for secret in secrets]


class TestLoad:
    def test_reads_current_secret_every_five_minutes(self, vault: Vault) -> None:
        for now in range(NOW, NOW + 900):
            assert vault.keys.load(now) == keys(A)
            assert vault.new_reads() == (["AWSCURRENT"] if (now - NOW) % 300 == 0 else [])

    def test_several_secrets_keep_their_order(self, vault: Vault) -> None:
        vault.stages["AWSCURRENT"] = f"\r\n  {A}\r\n\t{B}  {C}\n"
        assert vault.keys.load(NOW) == keys(A, B, C)

    def test_secret_can_have_a_name(self, vault: Vault) -> None:
        vault.stages["AWSCURRENT"] = f"{A} project-a={B} {'x' * 64}={C}"
        assert [(key.endpoint, key.key) for key in vault.keys.load(NOW)] == [
            ("", decode_secret(A)),
            ("project-a", decode_secret(B)),
            ("x" * 64, decode_secret(C)),
        ]

    def test_malformed_name_is_reported_by_its_position(self, vault: Vault) -> None:
        vault.stages["AWSCURRENT"] = f"{A} canary/7d1f={B} ={C}"
        assert vault.keys.load(NOW) == keys(A)
        assert [text.partition(":")[0] for text in vault.malformed] == [
            "value 2 of AWSCURRENT",
            "value 3 of AWSCURRENT",
        ]
        assert "canary" not in "".join(vault.malformed)


class TestRefresh:
    def test_unknown_key_reads_every_stage(self, vault: Vault) -> None:
        assert vault.accepts(A, NOW)
        vault.new_reads()
        assert not vault.accepts(FORGED, NOW + 1)
        assert vault.new_reads() == REFRESH

    @pytest.mark.parametrize("interval", [1, 4, 11])
    def test_refresh_runs_at_most_twice_in_any_ten_seconds(self, interval: int, vault: Vault) -> None:
        vault.keys.load(NOW)
        vault.new_reads()
        refreshes = []
        for now in range(NOW, NOW + 900, interval):
            vault.keys.refresh(now)
            if vault.new_reads() == REFRESH:
                refreshes.append(now - NOW)
        assert all(third - first >= 10 for first, third in zip(refreshes, refreshes[2:], strict=False))
        # And as often as that.
        assert len(refreshes) == {1: 180, 4: 150, 11: 82}[interval]

    def test_forgeries_do_not_disturb_genuine_deliveries(self, vault: Vault) -> None:
        vault.stages["AWSPREVIOUS"] = B
        for now in range(NOW, NOW + 900):
            assert not vault.accepts(FORGED, now)
            assert vault.accepts(A, now)
            assert vault.accepts(B, now)

    @pytest.mark.parametrize("stage", REFRESH)
    def test_refresh_finds_secret_in_each_stage(self, stage: str, vault: Vault) -> None:
        assert vault.accepts(A, NOW)
        vault.stages[stage] = f"{B} {C}"
        assert vault.accepts(C, NOW + 1)
        assert vault.accepts(B, NOW + 1)

    def test_keys_of_all_stages_are_cached(self, vault: Vault) -> None:
        vault.stages |= {"AWSPENDING": B, "AWSPREVIOUS": C}
        assert vault.keys.load(NOW) == keys(A)
        assert vault.keys.refresh(NOW) == keys(A, B, C)
        assert vault.keys.load(NOW + 1) == keys(A, B, C)

    def test_found_keys_are_cached_for_five_minutes(self, vault: Vault) -> None:
        vault.stages["AWSPREVIOUS"] = B
        assert vault.accepts(B, NOW)
        vault.new_reads()
        for now in range(NOW, NOW + 300):
            assert vault.accepts(B, now)
        assert vault.new_reads() == []
        assert vault.accepts(B, NOW + 300)
        assert vault.new_reads() == ["AWSCURRENT", *REFRESH]

    @pytest.mark.parametrize("stage", OTHER_STAGES)
    @pytest.mark.parametrize("value", [PLACEHOLDER, ""])
    def test_stage_without_secret_is_ignored(self, stage: str, value: str, vault: Vault) -> None:
        vault.stages |= dict.fromkeys(OTHER_STAGES, B) | {stage: value}
        assert vault.accepts(B, NOW)
        assert (vault.failures, vault.malformed) == ([], [])


class TestFailure:
    def test_known_keys_stay_in_use(self, vault: Vault) -> None:
        assert vault.accepts(A, NOW)
        vault.fails = lambda _: "InternalServiceError"
        vault.new_reads()
        for now in range(NOW, NOW + 900):
            assert vault.accepts(A, now)
        # When they are due, and a minute after each failure.
        assert vault.new_reads() == ["AWSCURRENT"] * 10
        assert len(vault.failures) == 10

    def test_known_keys_of_other_stages_stay_in_use(self, vault: Vault) -> None:
        vault.stages["AWSPREVIOUS"] = B
        assert vault.accepts(B, NOW)
        vault.fails = lambda _: "InternalServiceError"
        for now in range(NOW, NOW + 900):
            assert vault.accepts(B, now)

    @pytest.mark.parametrize("stage", OTHER_STAGES)
    def test_failure_of_one_stage_keeps_keys_of_both(self, stage: str, vault: Vault) -> None:
        vault.stages |= {"AWSPENDING": B, "AWSPREVIOUS": C}
        assert vault.accepts(C, NOW)
        vault.fails = lambda read: "ThrottlingException" if read == stage else None
        assert not vault.accepts(FORGED, NOW + 10)
        assert vault.failures == ["ThrottlingException from Secrets Manager"]
        assert vault.accepts(B, NOW + 11)
        assert vault.accepts(C, NOW + 11)

    def test_recovery_is_noticed_within_a_minute(self, vault: Vault) -> None:
        assert vault.accepts(A, NOW)
        vault.fails = lambda _: "InternalServiceError"
        assert vault.accepts(A, NOW + 300)
        vault.fails = lambda _: None
        vault.stages["AWSCURRENT"] = B
        assert vault.accepts(A, NOW + 359)
        assert not vault.accepts(A, NOW + 360)
        assert vault.accepts(B, NOW + 360)

    def test_refresh_works_as_soon_as_secrets_manager_does(self, vault: Vault) -> None:
        assert vault.accepts(A, NOW)
        vault.stages["AWSPREVIOUS"] = B
        vault.fails = lambda _: "InternalServiceError"
        assert vault.accepts(A, NOW + 300)
        vault.fails = lambda _: None
        assert vault.accepts(B, NOW + 301)

    def test_network_failure_is_reported_by_class_and_endpoint(self, vault: Vault) -> None:
        def fail(_stage: str) -> object:
            raise ConnectTimeoutError(endpoint_url="https://aws/")

        assert vault.accepts(A, NOW)
        vault.fails = fail
        assert vault.accepts(A, NOW + 300)
        [failure] = vault.failures
        assert failure.startswith("ConnectTimeoutError (https://aws/) from Secrets Manager")

    def test_delivery_waits_for_one_failure_only(self, vault: Vault) -> None:
        """A failure costs about 1.5 s if Secrets Manager hangs, and the table and the bus can hang as well."""
        vault.stages["AWSPREVIOUS"] = B
        assert vault.accepts(B, NOW)
        vault.fails = lambda _: "InternalServiceError"
        vault.new_reads()
        assert vault.accepts(B, NOW + 300)
        assert not vault.accepts(FORGED, NOW + 300)
        assert len(vault.new_reads()) == 1


class TestMalformed:
    @pytest.mark.parametrize(
        ("value", "problems"),
        [
            pytest.param(f"canary {A}", ["value 1 of AWSCURRENT: the signing secret does not start"], id="first"),
            pytest.param(f"{A} whsec_canary", ["value 2 of AWSCURRENT: the signing secret is not base64"], id="last"),
            pytest.param(
                f"v1,{A}\n{A}\ncanary",
                [
                    "value 1 of AWSCURRENT: the signing secret starts with `v1,`",
                    "value 3 of AWSCURRENT: the signing secret does not start",
                ],
                id="two of three",
            ),
        ],
    )
    def test_valid_values_among_malformed_are_used(self, value: str, problems: list[str], vault: Vault) -> None:
        vault.stages["AWSCURRENT"] = value
        assert vault.keys.load(NOW) == keys(A)
        assert len(vault.malformed) == len(problems)
        assert all(found.startswith(problem) for found, problem in zip(vault.malformed, problems, strict=True))
        assert "canary" not in "".join(vault.malformed)
        assert vault.failures == []

    @pytest.mark.parametrize("stage", OTHER_STAGES)
    def test_valid_values_of_other_stages_are_used(self, stage: str, vault: Vault) -> None:
        vault.stages[stage] = f"{B} canary"
        assert vault.accepts(B, NOW)
        assert [problem.partition(":")[0] for problem in vault.malformed] == [f"value 2 of {stage}"]


class TestNoKey:
    @pytest.mark.parametrize(
        ("value", "problem"),
        [
            (PLACEHOLDER, "does not start with `whsec_`"),
            ("", "is empty"),
            (A.encode(), "is empty"),  # SecretBinary
            (" \n", "is empty"),
            (f"v1,{A}", "starts with `v1,`"),
            ("canary-7d1f\nwhsec_canary", "does not start with `whsec_`"),
            ("whsec_canary", "is not base64 of 24 to 64 bytes"),
        ],
    )
    def test_invalid_value_is_not_configured(self, value: str, problem: str, vault: Vault) -> None:
        vault.stages["AWSCURRENT"] = value
        with pytest.raises(NotConfigured, match=problem) as raised:
            vault.keys.load(NOW)
        command = f"put-secret-value --region us-east-1 --secret-id {SECRET_ID} --secret-string file:///dev/stdin"
        assert str(raised.value).endswith(command)
        assert "canary" not in str(raised.value)
        assert vault.failures == []

    @pytest.mark.parametrize("code", ["ResourceNotFoundException", "AccessDeniedException", "ThrottlingException"])
    def test_unreadable_secret_is_not_configured(self, code: str, vault: Vault) -> None:
        vault.fails = lambda _: code
        with pytest.raises(NotConfigured, match=f"^{code} from Secrets Manager") as raised:
            vault.keys.load(NOW)
        assert str(raised.value).endswith(f"secretsmanager:GetSecretValue on {SECRET_ID}")

    def test_secret_is_read_every_five_seconds(self, vault: Vault) -> None:
        vault.stages["AWSCURRENT"] = PLACEHOLDER
        for now in range(NOW, NOW + 60):
            with pytest.raises(NotConfigured):
                vault.accepts(A, now)
            assert vault.new_reads() == (["AWSCURRENT"] if (now - NOW) % 5 == 0 else [])
        vault.stages["AWSCURRENT"] = A
        assert vault.accepts(A, NOW + 60)

    def test_other_stages_do_not_replace_current(self, vault: Vault) -> None:
        vault.stages |= {"AWSCURRENT": PLACEHOLDER, "AWSPENDING": B, "AWSPREVIOUS": C}
        with pytest.raises(NotConfigured):
            vault.accepts(B, NOW)

    def test_placeholder_does_not_replace_known_secret(self, vault: Vault) -> None:
        assert vault.accepts(A, NOW)
        vault.stages["AWSCURRENT"] = PLACEHOLDER
        assert vault.accepts(A, NOW + 300)
        [failure] = vault.failures
        assert failure.startswith("the signing secret does not start with `whsec_`")
