"""What ends a command early, and what the command says then: what happened, and the next command to run."""

import re
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionError as AwsConnectionError,
    CredentialRetrievalError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    SSOError,
    TokenRetrievalError,
)

from openai_webhooks_cli.dev_defaults import AWS_URL
from openai_webhooks_cli.shell.next_command import openai_webhooks, running_name
from openai_webhooks_cli.shell.printable import printable

_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError, SSOError, TokenRetrievalError)
_EXPIRED_CODES = {
    "ExpiredToken",
    "ExpiredTokenException",
    "RequestExpired",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
    "AuthFailure",
}
_DENIED_CODES = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
_EMBEDDED = f"For the embedded AWS, start `make dev` in another terminal, and pass --endpoint-url {AWS_URL}"


Result = TypeVar("Result")


class CannotRun(Exception):
    """The command cannot do its work: exit status 2. The text says why, and which command to run."""


class NotAllowed(CannotRun):
    """OpenAI refuses the API key, or what it may do."""


class Failed(Exception):
    """The command found a problem, or did only part of its work: exit status 1. The text is for the user."""


class Stopped(Exception):
    """Ctrl-C or another signal asked the command to stop."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_status = 128 + signal_number


def explain(error: BotoCoreError | ClientError) -> str:
    """Return what an error of AWS means, and what to do."""
    match error:
        case ProfileNotFound():
            return f"{error}. To list your profiles: aws configure list-profiles"
        case NoRegionError():
            return f"No AWS region. Pass --region, or set AWS_DEFAULT_REGION. {_EMBEDDED}"
        case ClientError():
            return _explain_refusal(error)
        case _ if isinstance(error, _NO_CREDENTIALS):
            return f"No AWS credentials. Pass --profile, or run: aws sso login --profile PROFILE. {_EMBEDDED}"
        case EndpointConnectionError() | AwsConnectionError() | HTTPClientError():
            return f"Cannot reach AWS: {printable(str(error))}. Check the network, --region and --endpoint-url."
        case _:
            return f"{type(error).__name__}: {printable(str(error))}"


def is_expired(error: BaseException) -> bool:
    """Return whether an error means that the user has to sign in again."""
    return isinstance(error, _NO_CREDENTIALS) or (isinstance(error, ClientError) and _code(error) in _EXPIRED_CODES)


def is_denied(error: BaseException) -> bool:
    """Return whether an error means that IAM denied the call."""
    return isinstance(error, ClientError) and _code(error) in _DENIED_CODES


def if_found(call: Callable[[], Result]) -> Result | None:
    """Return the answer of a call about a resource, or None if the resource does not exist."""
    try:
        return call()
    except ClientError as error:
        if not is_absent(error):
            raise
        return None


def is_absent(error: ClientError) -> bool:
    """Return whether an error means that a resource does not exist."""
    code = _code(error)
    return code == "ResourceNotFoundException" or "NonExistentQueue" in code or "QueueDoesNotExist" in code


def _explain_refusal(error: ClientError) -> str:
    code, text = _code(error), printable(str(error.response.get("Error", {}).get("Message", "")))
    if is_denied(error):
        named = re.search(r"^User: (\S+) is not authorized to perform: (\S+)", text)
        user, action = named.groups() if named else ("your credentials", error.operation_name)
        policy = openai_webhooks("iam", *running_name().split())
        return f"{action} was denied for {user}. To print the policies that the command needs: {policy}"
    if code in _EXPIRED_CODES:
        return f"AWS does not accept your credentials ({code}). Pass --profile, or run: aws sso login --profile PROFILE"
    if code == "LimitExceededException" and error.operation_name == "PutRule":
        return (
            "The bus has no room for another rule (300 per bus, unless AWS raised your quota). Nothing was left "
            f"behind. To list the rules: {openai_webhooks('rules')}\n"
            f"To remove rules of crashed sessions: {openai_webhooks('listen', '--clean')}"
        )
    return f"{error.operation_name} failed with {code}: {text}"


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
