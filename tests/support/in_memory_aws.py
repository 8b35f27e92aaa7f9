"""Secrets Manager, DynamoDB and EventBridge in memory, as far as the receiver calls them. Each call is atomic.

A parameter that the receiver does not send is an error and is never ignored. tests/integration/test_in_memory_aws.py
compares the answers with moto's.
"""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import boto3

type Parameters = Mapping[str, Any]
type Item = Mapping[str, Any]
"""An item in DynamoDB's JSON: `{"id": {"S": "…"}}`."""

_SESSION = boto3.Session("testing", "testing", "testing", "us-east-1")


class Refusal(Exception):
    """An error that AWS answers. `fields` are those of the error beyond its code and message."""

    def __init__(self, code: str, message: str, **fields: object) -> None:
        super().__init__(message)
        self.code, self.message, self.fields = code, message, fields


class Secret:
    """A secret in Secrets Manager: its versions, and the staging labels that point to them."""

    def __init__(self, secret_id: str, value: str) -> None:
        self.id = secret_id
        self._versions: dict[str, str] = {}
        self.stages: dict[str, str] = {}
        """Version ids by staging label. Without labels, the secret has no value."""
        self.put({"SecretId": secret_id, "SecretString": value})

    def get(self, parameters: Parameters) -> Parameters:
        secret_id, stage = _read(parameters, "SecretId", VersionStage="AWSCURRENT")
        self._check(secret_id)
        if stage not in self.stages:
            raise Refusal("ResourceNotFoundException", f"no value for staging label: {stage}")
        version = self.stages[stage]
        return {
            "ARN": self.id,
            "SecretString": self._versions[version],
            "VersionId": version,
            "VersionStages": [name for name, of in self.stages.items() if of == version],
        }

    def put(self, parameters: Parameters) -> Parameters:
        secret_id, value, stages, _ = _read(
            parameters, "SecretId", "SecretString", VersionStages=["AWSCURRENT"], ClientRequestToken=""
        )
        self._check(secret_id)
        version = str(UUID(int=len(self._versions) + 1))
        self._versions[version] = value
        for stage in stages:
            self._point(stage, version)
        return {"ARN": self.id, "VersionId": version, "VersionStages": stages}

    def move(self, parameters: Parameters) -> Parameters:
        secret_id, stage, to, remove_from = _read(
            parameters, "SecretId", "VersionStage", MoveToVersionId=None, RemoveFromVersionId=None
        )
        self._check(secret_id)
        if self.stages.get(stage) != remove_from:
            raise Refusal("InvalidParameterException", f"{stage} is not attached to version {remove_from}")
        if to is None:
            del self.stages[stage]
        else:
            self._point(stage, to)
        return {"ARN": self.id}

    def _point(self, stage: str, version: str) -> None:
        if stage == "AWSCURRENT" and stage in self.stages:
            self.stages["AWSPREVIOUS"] = self.stages[stage]
        self.stages[stage] = version

    def _check(self, secret_id: str) -> None:
        if secret_id != self.id:
            raise Refusal("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")


# Powertools' expressions: the claim of a delivery, which the receiver extends, and its record.
POWERTOOLS_CLAIM = (
    "attribute_not_exists(#id) OR #expiry < :now OR "
    "(#status = :inprogress AND attribute_exists(#in_progress_expiry) AND #in_progress_expiry < :now_in_millis)"
)
CLAIM = f"{POWERTOOLS_CLAIM} OR (#status = :inprogress AND claimant = :claimant)"
RECORD = "SET #response_data = :response_data, #expiry = :expiry, #status = :status"


class Table:
    """A DynamoDB table with the key `id`. Nothing in it expires, because DynamoDB can take days for it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: dict[str, Item] = {}

    def put(self, parameters: Parameters) -> Parameters:
        name, item, condition, names, values, returned = _read(
            parameters,
            *("TableName", "Item", "ConditionExpression", "ExpressionAttributeNames", "ExpressionAttributeValues"),
            ReturnValuesOnConditionCheckFailure="NONE",
        )
        self._check(name, condition, CLAIM, POWERTOOLS_CLAIM)
        key = item["id"]["S"]
        old = self.items.get(key)
        names = {**names, "claimant": "claimant"}
        if old is not None and not _claimable({of: old.get(attribute) for of, attribute in names.items()}, values):
            fields = {"Item": old} if returned == "ALL_OLD" else {}
            raise Refusal("ConditionalCheckFailedException", "The conditional request failed", **fields)
        self.items[key] = item
        return {}

    def update(self, parameters: Parameters) -> Parameters:
        name, key, expression, names, values = _read(
            parameters,
            *("TableName", "Key", "UpdateExpression", "ExpressionAttributeNames", "ExpressionAttributeValues"),
        )
        self._check(name, expression, RECORD)
        changes = (change.split(" = ") for change in expression.removeprefix("SET ").split(", "))
        old = self.items.get(key["id"]["S"], key)
        self.items[key["id"]["S"]] = {**old, **{names[attribute]: values[value] for attribute, value in changes}}
        return {}

    def delete(self, parameters: Parameters) -> Parameters:
        name, key = _read(parameters, "TableName", "Key")
        self._check(name)
        self.items.pop(key["id"]["S"], None)
        return {}

    def _check(self, name: str, expression: str = "", *known: str) -> None:
        if name != self.name:
            raise Refusal("ResourceNotFoundException", "Requested resource not found")
        if expression and expression not in known:
            raise Refusal("ValidationException", f"this table knows only `{known[0]}`, not `{expression}`")


def _claimable(old: Mapping[str, Any], values: Item) -> bool:
    """Evaluate CLAIM for an item that exists. `old` maps the expression's names to the item's values."""
    in_progress = old["#status"] == values[":inprogress"]
    ended = _less(old["#in_progress_expiry"], values[":now_in_millis"])
    own = ":claimant" in values and old["claimant"] == values[":claimant"]
    return _less(old["#expiry"], values[":now"]) or (in_progress and (ended or own))


def _less(number: Any, other: Any) -> bool:
    return number is not None and int(number["N"]) < int(other["N"])


class Bus:
    """An event bus in EventBridge. `on_event` is called with the id and the entry of each event on it."""

    MAX_ENTRIES = 10

    def __init__(self, name: str, on_event: Callable[[str, Parameters], None] = lambda _id, _entry: None) -> None:
        self.name = name
        self._on_event = on_event
        self._events = 0

    def put(self, parameters: Parameters) -> Parameters:
        (entries,) = _read(parameters, "Entries")
        if not 1 <= len(entries) <= self.MAX_ENTRIES:
            raise Refusal("ValidationException", f"between 1 and {self.MAX_ENTRIES} entries")
        results = [self._put(entry) for entry in entries]
        return {"FailedEntryCount": sum("ErrorCode" in result for result in results), "Entries": results}

    def _put(self, entry: Parameters) -> Parameters:
        name, _, _, detail, *_ = _read(entry, "EventBusName", "Source", "DetailType", "Detail", Time=None, Resources=())
        if name != self.name:
            raise Refusal("ResourceNotFoundException", f"Event bus {name} does not exist.")
        try:
            json.loads(detail)
        except ValueError:
            return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
        self._events += 1
        event_id = str(UUID(int=self._events))
        self._on_event(event_id, entry)
        return {"EventId": event_id}


def _read(parameters: Parameters, *required: str, **optional: object) -> tuple[Any, ...]:
    """Return the parameters' values in this order. An unknown or a missing parameter is an error."""
    if unknown := parameters.keys() - {*required, *optional}:
        raise Refusal("ValidationException", f"unknown here: {', '.join(sorted(unknown))}")
    if missing := set(required) - parameters.keys():
        raise Refusal("ValidationException", f"missing: {', '.join(sorted(missing))}")
    return (
        *(parameters[name] for name in required),
        *(parameters.get(name, default) for name, default in optional.items()),
    )


class InMemoryAws:
    """The three services, behind clients of boto3 that make no request."""

    def __init__(self, *, secret_id: str, secret: str, table: str, bus: str) -> None:
        self.secret, self.table, self.bus = Secret(secret_id, secret), Table(table), Bus(bus, self._on_event)
        self._operations: Mapping[str, Callable[[Parameters], Parameters]] = {
            "GetSecretValue": self.secret.get,
            "PutItem": self.table.put,
            "UpdateItem": self.table.update,
            "DeleteItem": self.table.delete,
            "PutEvents": self.bus.put,
        }
        self._arrived: list[dict[str, Any]] = []

    def client(self, service: Any) -> Any:
        """Return a boto3 client whose calls are answered from memory."""
        client = _SESSION.client(service)
        last_parameters: list[Parameters] = []
        client.meta.events.register("before-parameter-build", lambda params, **_: last_parameters.append(params))
        client.meta.events.register("before-call", lambda model, **_: self._answer(model.name, last_parameters.pop()))
        return client

    def store(self, value: str, *stages: str) -> str:
        """Store a version of the secret, under AWSCURRENT unless other labels are named. Return the version's id."""
        parameters = {
            "SecretId": self.secret.id,
            "SecretString": value,
            "VersionStages": list(stages or ("AWSCURRENT",)),
        }
        return str(self.secret.put(parameters)["VersionId"])

    def arrived(self) -> list[dict[str, Any]]:
        """Return the events that reached the bus since the last call, as the bus delivers them."""
        arrived, self._arrived = self._arrived, []
        return arrived

    def records(self) -> list[dict[str, Any]]:
        """Return the items in the table, without DynamoDB's type tags."""
        return [
            {name: next(iter(value.values())) for name, value in item.items()} for item in self.table.items.values()
        ]

    def _answer(self, operation: str, parameters: Parameters) -> tuple[SimpleNamespace, Parameters]:
        try:
            return SimpleNamespace(status_code=200), {**self._operations[operation](parameters), "ResponseMetadata": {}}
        except Refusal as refusal:
            error = {"Error": {"Code": refusal.code, "Message": refusal.message}, "ResponseMetadata": {}}
            return SimpleNamespace(status_code=400), error | refusal.fields

    def _on_event(self, event_id: str, entry: Parameters) -> None:
        time: datetime = entry.get("Time") or datetime.now(UTC)
        self._arrived.append(
            {
                "id": event_id,
                "source": entry["Source"],
                "detail-type": entry["DetailType"],
                "resources": list(entry.get("Resources", ())),
                "time": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "detail": json.loads(entry["Detail"]),
            }
        )
