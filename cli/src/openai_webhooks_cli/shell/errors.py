"""What ends a command early, and what the command says then: what happened, and the next command to run."""

import re

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

from openai_webhooks_cli.shell.output import printable

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


class CannotRun(Exception):
    """The command cannot do its work: exit status 2. The text says why, and which command to run."""


class Failed(Exception):
    """The command found a problem, or did only part of its work: exit status 1. The text is for the user."""


class Stopped(Exception):
    """Ctrl-C or another signal asked the command to stop."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.exit_status = 128 + signal_number


def explain(error: BotoCoreError | ClientError, command_name: str) -> str:
    """Return what an error of AWS means, and what to do."""
    match error:
        case ProfileNotFound():
            return f"{error}. 'aws configure list-profiles' lists your profiles."
        case NoRegionError():
            return "No AWS region: pass --region, or set AWS_DEFAULT_REGION."
        case ClientError():
            return _explain_refusal(error, command_name)
        case _ if isinstance(error, _NO_CREDENTIALS):
            return "No AWS credentials: run 'aws sso login --profile P' or pass --profile."
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


def _explain_refusal(error: ClientError, command_name: str) -> str:
    code, text = _code(error), printable(str(error.response.get("Error", {}).get("Message", "")))
    if is_denied(error):
        named = re.search(r"^User: (\S+) is not authorized to perform: (\S+)", text)
        user, action = named.groups() if named else ("your credentials", error.operation_name)
        return (
            f"{action} was denied for {user}: "
            f"'openai-webhooks iam {command_name}' prints the policy that {command_name} needs."
        )
    if code in _EXPIRED_CODES:
        return f"AWS does not accept your credentials ({code}): run 'aws sso login --profile P' or pass --profile."
    if code == "LimitExceededException" and error.operation_name == "PutRule":
        return (
            "The bus has no room for another rule (300 per bus, unless AWS raised your quota). Nothing was left "
            "behind. 'openai-webhooks listen --clean' removes rules of crashed sessions; 'openai-webhooks rules' lists "
            "all rules."
        )
    return f"{error.operation_name} failed with {code}: {text}"


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
