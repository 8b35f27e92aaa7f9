"""How long the clients wait for AWS, and how an error is reported."""

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)

from receiver.aws import CONFIG, AwsError, error_code
from tests.support.templates import receiver_timeout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ClientError({"Error": {"Code": "AccessDenied", "Message": "canary-7d1f"}}, "PutEvents"), "AccessDenied"),
        (ClientError({"Error": {"Code": "502", "Message": "canary-7d1f"}}, "PutEvents"), "502"),
        (ReadTimeoutError(endpoint_url="https://aws/"), "ReadTimeoutError (https://aws/)"),
        (ConnectTimeoutError(endpoint_url="https://aws/"), "ConnectTimeoutError (https://aws/)"),
        (ParamValidationError(report="canary-7d1f"), "ParamValidationError"),
        (NoCredentialsError(), "NoCredentialsError"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_error_is_named_without_its_message(error: BotoCoreError | ClientError, code: str) -> None:
    assert isinstance(error, AwsError)
    assert error_code(error) == code


def test_three_hanging_services_leave_time_for_an_answer() -> None:
    config = vars(CONFIG)
    attempts = config["retries"]["total_max_attempts"]
    pause = 0.05  # botocore's longest between two attempts, unless throttled
    assert attempts == 2
    for timeout in ("connect_timeout", "read_timeout"):
        assert 3 * (attempts * config[timeout] + pause) < 5 <= receiver_timeout() / 2  # and a slow cold start
