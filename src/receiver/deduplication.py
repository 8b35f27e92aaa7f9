"""Publish each delivery once during OpenAI's whole retry window, as long as the table can be reached."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aws_lambda_powertools.utilities.idempotency import (
    DynamoDBPersistenceLayer,
    IdempotencyConfig,
    idempotent_function,
)
from aws_lambda_powertools.utilities.idempotency.exceptions import (
    IdempotencyAlreadyInProgressError,
    IdempotencyInconsistentStateError,
)
from aws_lambda_powertools.utilities.idempotency.persistence.datarecord import DataRecord

from receiver.aws import AwsError, error_code
from receiver.rejections import InProgress

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext
    from mypy_boto3_dynamodb import DynamoDBClient


class Deduplicator:
    """Runs a piece of work once for each webhook id: claim the id, do the work, record the result.

    An exception in the work releases the claim. If the function crashes, the claim ends when its invocation would have
    timed out.
    """

    def __init__(self, persistence: "FailOpenPersistence", *, hours: int) -> None:
        """`hours` is how long a webhook id is remembered."""
        self._persistence = persistence
        # `hash_function` here and `key_prefix` below determine the ids of the records. A version that changes one of
        # them forgets all earlier deliveries, and publishes their retries again.
        self._config = IdempotencyConfig(expires_after_seconds=hours * 3600, hash_function="sha256")

    def start_invocation(self, context: "LambdaContext") -> None:
        """Let claims name this invocation, and end when it times out."""
        self._config.register_lambda_context(context)
        self._persistence.claimant = context.aws_request_id

    def run_once(self, webhook_id: str, work: Callable[[], str]) -> tuple[str, bool]:
        """Run `work` unless an earlier copy did. Return the result, and whether it is from this run.

        Raises InProgress while another copy is at work.
        """
        ran = False

        def run(**_webhook_id: str) -> str:
            nonlocal ran
            ran = True
            return work()

        run_unless_done = idempotent_function(
            run,
            data_keyword_argument="webhook_id",
            persistence_store=self._persistence,
            config=self._config,
            key_prefix="delivery",
        )
        try:
            return run_unless_done(webhook_id=webhook_id), ran
        except (IdempotencyAlreadyInProgressError, IdempotencyInconsistentStateError):
            raise InProgress("another copy of this delivery is being published") from None


class FailOpenPersistence(DynamoDBPersistenceLayer):
    """Powertools' records in DynamoDB. If the table fails, the work goes on without it: a duplicate beats a loss.

    After the first failure the table is not called again for the same delivery. `on_failure` is called with the error's
    code.

    The function's role has no permission for GetItem. Powertools needs it only if a failed PutItem does not return the
    existing record, and DynamoDB always returns it.
    """

    def __init__(self, client: "DynamoDBClient", *, table_name: str, on_failure: Callable[[str], None]) -> None:
        super().__init__(table_name=table_name, boto3_client=client)
        client.meta.events.register("provide-client-params.dynamodb.PutItem", self._name_claimant)
        self.claimant = ""
        """The current invocation's request id."""
        self._on_failure = on_failure
        self._claimed = False  # of the current delivery: Lambda gives an instance one delivery at a time

    def _put_record(self, data_record: DataRecord) -> None:
        self._claimed = False
        with self._fail_open():
            super()._put_record(data_record)
            self._claimed = True

    def _update_record(self, data_record: DataRecord) -> None:
        if self._claimed:
            with self._fail_open():
                super()._update_record(data_record)

    def _delete_record(self, data_record: DataRecord) -> None:
        if self._claimed:
            with self._fail_open():
                super()._delete_record(data_record)

    def _name_claimant(self, params: dict[str, Any], **_: object) -> None:
        """Let the claim of an invocation succeed twice. If its answer gets lost, botocore sends it again."""
        params["Item"]["claimant"] = params["ExpressionAttributeValues"][":claimant"] = {"S": self.claimant}
        params["ConditionExpression"] += " OR (#status = :inprogress AND claimant = :claimant)"

    @contextmanager
    def _fail_open(self) -> Iterator[None]:
        try:
            yield
        except AwsError as error:
            self._on_failure(error_code(error))
