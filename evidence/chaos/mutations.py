"""Receivers that are broken on purpose. The chaos run must detect each one, or its checks prove nothing.

Each function breaks the receiver of its own process, before `receiver.app` is imported. Its docstring completes the
sentence "a receiver that …". The functions replace attributes by name, and fail if an attribute does not exist.
"""

import os
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest import mock

from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, IdempotencyConfig
from botocore.config import Config

from openai_webhooks import InvalidSecret
from receiver import aws, signing_keys
from receiver.bus import EventBus
from receiver.deduplication import Deduplicator, FailOpenPersistence
from receiver.receiver import Receiver
from receiver.rejections import InProgress, PublishFailed
from receiver.signing_keys import SigningKeys
from receiver.telemetry import Telemetry


def verify_late() -> None:
    """publishes, then verifies"""
    verify, receive = Receiver._verify, Receiver.receive
    _replace(Receiver, "_verify", lambda _receiver, _body, headers, _now: (headers["webhook-id"], ""))

    def receive_then_verify(receiver: Receiver, *delivery: Any) -> Any:
        outcome = receive(receiver, *delivery)
        verify(receiver, *delivery)
        return outcome

    _replace(Receiver, "receive", receive_then_verify)


def publish_later() -> None:
    """answers 200 before it has published"""
    publish = EventBus.publish

    def publish_in_thread(bus: EventBus, entry: Any) -> str:
        threading.Thread(target=publish, args=(bus, entry)).start()
        return "unknown"

    _replace(EventBus, "publish", publish_in_thread)


def never_release() -> None:
    """never releases a claim"""
    _replace(DynamoDBPersistenceLayer, "_delete_record", _nothing)


def deduplicate_on_body() -> None:
    """deduplicates on the body"""
    to_entry, run_once = EventBus.to_entry, Deduplicator.run_once
    bodies = []

    def remember(bus: EventBus, body: bytes, *event: Any) -> Any:
        bodies.append(body)
        return to_entry(bus, body, *event)

    _replace(EventBus, "to_entry", remember)
    _replace(Deduplicator, "run_once", lambda self, _, work: run_once(self, bodies[-1].decode(), work))


def remember_one_hour() -> None:
    """remembers a delivery for one hour only"""
    mock.patch.dict(os.environ, DEDUPLICATION_HOURS="1").start()


def never_claim() -> None:
    """never claims a delivery"""
    _replace(DynamoDBPersistenceLayer, "_put_record", _nothing)


def never_record() -> None:
    """never records a publication"""
    _replace(DynamoDBPersistenceLayer, "_update_record", _nothing)


def claim_without_end() -> None:
    """makes claims that do not expire"""
    _replace(IdempotencyConfig, "register_lambda_context", _nothing)


def meet_own_claim() -> None:
    """does not recognize its own claim"""
    name = FailOpenPersistence._name_claimant

    def name_another(persistence: FailOpenPersistence, params: dict[str, Any], **_: object) -> None:
        name(persistence, params)
        params["Item"]["claimant"] = {"S": "another"}

    _replace(FailOpenPersistence, "_name_claimant", name_another)


def accept_copy_in_progress() -> None:
    """answers 200 while another copy is in progress"""
    run_once = Deduplicator.run_once

    def accept(deduplicator: Deduplicator, webhook_id: str, work: Callable[[], str]) -> tuple[str, bool]:
        try:
            return run_once(deduplicator, webhook_id, work)
        except InProgress:
            return "unknown", False

    _replace(Deduplicator, "run_once", accept)


def ignore_entry_result() -> None:
    """ignores the result of the entry itself"""
    initialize = EventBus.__init__

    def ignore(parsed: dict[str, Any], **_: object) -> None:
        for entry in parsed.get("Entries", []):
            entry.setdefault("EventId", "unknown")

    def initialize_and_ignore(bus: EventBus, eventbridge: Any, **names: str) -> None:
        eventbridge.meta.events.register("after-call", ignore)
        initialize(bus, eventbridge, **names)

    _replace(EventBus, "__init__", initialize_and_ignore)


def ignore_errors_of_eventbridge() -> None:
    """ignores EventBridge's errors"""
    publish = EventBus.publish

    def ignore(bus: EventBus, entry: Any) -> str:
        try:
            return publish(bus, entry)
        except PublishFailed:
            return "unknown"

    _replace(EventBus, "publish", ignore)


def change_body() -> None:
    """publishes another text than was signed"""
    to_entry = EventBus.to_entry
    _replace(EventBus, "to_entry", lambda bus, body, *event: to_entry(bus, body + b" ", *event))


def fail_with_table() -> None:
    """fails if the table fails"""
    _replace(FailOpenPersistence, "_fail_open", lambda _: nullcontext())


def wait_too_long() -> None:
    """waits 20 s for AWS"""
    _replace(aws, "CONFIG", aws.CONFIG.merge(Config(read_timeout=20)))


def accept_old_deliveries() -> None:
    """accepts old deliveries"""
    mock.patch.dict(os.environ, TIMESTAMP_TOLERANCE_SECONDS="1000").start()


def ignore_new_secret() -> None:
    """does not look for a new secret"""
    _ignore_stage("AWSPENDING")


def ignore_previous_secret() -> None:
    """does not accept the previous secret"""
    _ignore_stage("AWSPREVIOUS")


def never_refresh() -> None:
    """never reads the secret again because of a signature"""
    _replace(SigningKeys, "refresh", lambda *_: [])


def refresh_without_limit() -> None:
    """reads the secret again for every forgery"""
    _replace(signing_keys, "REFRESH_PERIOD", 0)


def ignore_valid_next_to_malformed() -> None:
    """ignores valid secrets next to a malformed one"""

    def refuse(_: Telemetry, problem: str) -> None:
        raise InvalidSecret(problem)

    _replace(Telemetry, "secret_malformed", refuse)


def _ignore_stage(ignored: str) -> None:
    read = SigningKeys._read_other
    _replace(SigningKeys, "_read_other", lambda keys, stage: [] if stage == ignored else read(keys, stage))


def _replace(owner: Any, name: str, replacement: Any) -> None:
    mock.patch.object(owner, name, replacement).start()


def _nothing(*_: object, **__: object) -> None:
    pass
