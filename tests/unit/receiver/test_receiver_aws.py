"""How long AWS is waited for, and how its errors are told of."""

import pytest
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    NoCredentialsError,
    ParamValidationError,
    ReadTimeoutError,
)

from receiver.aws import CONFIG, AwsError, reason


@pytest.mark.parametrize(
    ("error", "expected"),
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
def test_an_error_is_told_of_by_its_code_or_class_and_endpoint_and_not_by_its_message(
    error: BotoCoreError | ClientError, expected: str
) -> None:
    assert isinstance(error, AwsError)
    assert reason(error) == expected


def test_three_services_that_hang_leave_time_for_an_answer() -> None:
    config = vars(CONFIG)
    attempts = config["retries"]["total_max_attempts"]
    pause = 0.05  # botocore's longest between two attempts, unless throttled
    assert attempts == 2
    for timeout in ("connect_timeout", "read_timeout"):
        assert 3 * (attempts * config[timeout] + pause) < 5
