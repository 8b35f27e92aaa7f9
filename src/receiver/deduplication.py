"""One publication per delivery, over OpenAI's whole redelivery window, while the table can be reached."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer
from aws_lambda_powertools.utilities.idempotency.persistence.datarecord import DataRecord

from receiver.aws import AwsError, reason

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class DeliveriesTable(DynamoDBPersistenceLayer):
    """Powertools' records in DynamoDB, stepping aside when the table fails: a duplicate is better than a loss.

    After the first failure the table is left alone for the rest of the delivery, and `on_failure` is called
    with its reason.
    """

    def __init__(self, table_name: str, client: "DynamoDBClient", on_failure: Callable[[str], None]) -> None:
        super().__init__(table_name=table_name, boto3_client=client)
        self._on_failure = on_failure
        self._claimed = False

    def _put_record(self, data_record: DataRecord) -> None:
        self._claimed = False
        with self._stepping_aside():
            super()._put_record(data_record)
            self._claimed = True

    def _update_record(self, data_record: DataRecord) -> None:
        if self._claimed:
            with self._stepping_aside():
                super()._update_record(data_record)

    def _delete_record(self, data_record: DataRecord) -> None:
        if self._claimed:
            with self._stepping_aside():
                super()._delete_record(data_record)

    @contextmanager
    def _stepping_aside(self) -> Iterator[None]:
        try:
            yield
        except AwsError as error:
            self._on_failure(reason(error))
