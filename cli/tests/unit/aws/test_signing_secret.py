"""OpenAI's hints of signing secrets, and what is valid in a stored text."""

import pytest

from openai_webhooks_cli.aws.signing_secret import is_placeholder, matches_hint, problems, values
from tests.support.templates import RECEIVER

VALUE = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
OTHER = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HINTS = ["whsec_…40c=", "whsec_...40c=", "****40c=", "•••• 40c=", "xxxx40c=", "whsec_Rdv***", "whsec_Rd…40c=", "40c="]


@pytest.mark.parametrize("hint", [*HINTS, VALUE])
def test_hint_fits_its_secret_only(hint: str) -> None:
    assert matches_hint(VALUE, hint) is True
    assert matches_hint(OTHER, hint) is False


@pytest.mark.parametrize("hint", [None, "", "****", "whsec_…", "whsec_****", "…c=", "sha256:40c=", "secret 40c="])
def test_hint_without_enough_characters_is_unknown(hint: str | None) -> None:
    assert matches_hint(VALUE, hint) is None


def test_malformed_values_are_named_by_position() -> None:
    text = f"{VALUE} v1,{OTHER}\nwhsec_canary"

    assert values(text) == [VALUE]
    assert [problem.partition(":")[0] for problem in problems(text)] == ["value 2", "value 3"]
    assert "canary" not in str(problems(text))
    assert values(None) == problems(None) == []


def test_placeholder_is_the_text_of_the_template() -> None:
    assert is_placeholder(RECEIVER.untransformed().properties("SigningSecret")["SecretString"])
    assert not is_placeholder(VALUE)
