"""What the page of `dev` shows, and what its buttons do."""

import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import requests

from openai_webhooks import CATALOG
from openai_webhooks_cli import apigw_event, samples
from openai_webhooks_cli.local.event_bridge import Event, Verdict
from openai_webhooks_cli.local.http_api import AnsweredDelivery
from openai_webhooks_cli.local.subscribers import Arrival
from openai_webhooks_cli.page.app import Page
from openai_webhooks_cli.page.feed import Feed

SAVED = Path("events/saved")
"""Where deliveries are saved, in the current directory."""
_TIMEOUT = 30  # seconds


class DevPage:
    """A page with a record for each request, and for each event that another receiver published.

    Its methods are called from several threads, and in any order: an event can reach a subscriber before the receiver
    has answered.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        rules: Callable[[Event], list[Verdict]],
        run_again: Callable[[str, Event], None],
    ) -> None:
        """`url` is where deliveries go. `secret` signs those that the page sends.

        `rules` returns what each rule does with an event on the bus.
        `run_again` starts a subscriber with an event on the bus, and does not wait for its end.
        """
        self._url = url
        self._secret = secret
        self._rules = rules
        self._run_subscriber = run_again
        self.feed = Feed()
        self._lock = threading.Lock()
        self._records: dict[str, int] = {}  # by EventBridge's id
        self._early: dict[str, dict[str, Any]] = {}  # fields of records that do not exist yet, by EventBridge's id
        actions = {
            "send": self._send,
            "send_as_new": self._send_as_new,
            "send_again": self._send_again,
            "run_again": self._run_again,
            "tamper": self._tamper,
            "save": self._save,
        }
        data = {event_type: samples.sample(event_type, created_at=0)["data"] for event_type in CATALOG}
        info = {"title": "openai-webhooks dev", "url": url, "types": list(CATALOG), "samples": data}
        self.page = Page(self.feed, actions=actions, info=info)

    def answered(self, delivery: AnsweredDelivery) -> None:
        """Show a request and its answer."""
        fields = {
            "time": time.time(),
            "kind": "delivery",
            "event_type": delivery.event_type,
            "event_id": delivery.event_id,
            "webhook_id": delivery.headers.get("webhook-id", ""),
            "status": delivery.status,
            "outcome": delivery.outcome,
            "reason": delivery.reason,
            "duration_ms": round(delivery.seconds * 1000, 1),
            "headers": dict(delivery.headers),
            "body": delivery.body.decode(errors="replace"),
        }
        # A duplicate has the id of the published event, and must not take its place.
        if delivery.outcome == "published":
            self._add(delivery.eventbridge_id, {"subscribers": [], **fields})
        else:
            self._add("", fields)

    def published(self, event: Event, *, elsewhere: bool) -> None:
        """Show an event on the bus. It has no delivery here if it was published `elsewhere`."""
        rules = [
            {"rule": verdict.rule, "targets": verdict.targets, "matched": verdict.passes, "reason": verdict.reason}
            for verdict in self._rules(event)
        ]
        self._update(event["id"], {"bus_event": event, "rules": rules})
        if elsewhere:
            detail = event["detail"]
            fields = {"event_type": event["detail-type"], "event_id": detail.get("id", ""), "outcome": "on the bus"}
            self._add(event["id"], {"time": time.time(), "kind": "event", "subscribers": [], **fields})

    def arrived(self, arrival: Arrival) -> None:
        """Show that a subscriber handled an event."""
        subscriber = {
            "name": arrival.subscriber,
            "ok": not arrival.failure,
            "result": f"{arrival.failure}, {arrival.next_step}" if arrival.failure else json.dumps(arrival.result),
            "duration_ms": round(arrival.seconds * 1000, 1),
            "log": list(arrival.log),
            "attempt": arrival.attempt,
        }
        self._update(arrival.event["id"], {"subscribers": [subscriber]})

    def _add(self, eventbridge_id: str, fields: dict[str, Any]) -> None:
        with self._lock:
            early = self._early.pop(eventbridge_id, {})
            record_id = self.feed.add(**{**fields, **early})
            if eventbridge_id:
                self._records[eventbridge_id] = record_id
                while len(self._records) > self.feed.limit:
                    del self._records[next(iter(self._records))]

    def _update(self, eventbridge_id: str, fields: dict[str, Any]) -> None:
        with self._lock:
            record_id = self._records.get(eventbridge_id)
            known = self._early.setdefault(eventbridge_id, {}) if record_id is None else self.feed.get(record_id) or {}
            if "subscribers" in fields:
                fields = {"subscribers": [*known.get("subscribers", []), *fields["subscribers"]]}
            if record_id is None:
                known.update(fields)
                while len(self._early) > self.feed.limit:
                    del self._early[next(iter(self._early))]
            else:
                self.feed.update(record_id, **fields)

    def _send(self, arguments: dict[str, Any]) -> dict[str, Any]:
        event_type, data = str(arguments.get("event_type", "")), arguments.get("data")
        if not isinstance(data, dict | None):
            message = 'The data must be a JSON object, for example {"id": "batch_7"}.'
            raise ValueError(message)  # noqa: TRY004  # the page shows ValueErrors
        if not re.fullmatch(r"[\w.-]{1,128}", event_type, re.ASCII):
            raise ValueError("Choose an event type.")
        event = samples.sample(event_type, created_at=int(time.time()), event_id=samples.new_id("evt_"))
        if data is not None:
            event["data"] = data
        return self._post(samples.encode(event), samples.new_id("wh_"))

    def _send_as_new(self, arguments: dict[str, Any]) -> dict[str, Any]:
        body = self._delivery(arguments)["body"]
        try:
            body = samples.encode({**json.loads(body), "id": samples.new_id("evt_")})
        except (ValueError, TypeError, RecursionError):
            raise ValueError("The body is not a JSON object, so it cannot get a new event id.") from None
        return self._post(body, samples.new_id("wh_"))

    def _send_again(self, arguments: dict[str, Any]) -> dict[str, Any]:
        record = self._delivery(arguments)
        return self._post(record["body"].encode(), record["webhook_id"])

    def _run_again(self, arguments: dict[str, Any]) -> None:
        name, record = arguments.get("subscriber", ""), self._record(arguments)
        names = [subscriber["name"] for subscriber in record.get("subscribers", [])]
        if name not in names or "bus_event" not in record:
            raise ValueError("Choose a subscriber that this event has reached.")
        self._run_subscriber(name, record["bus_event"])

    def _tamper(self, arguments: dict[str, Any]) -> dict[str, Any]:
        part = arguments.get("part")
        if part not in ("signature", "timestamp", "body"):
            raise ValueError("Choose what to tamper with: signature, timestamp or body.")
        return self._post(self._delivery(arguments)["body"].encode(), samples.new_id("wh_"), part)

    def _post(self, body: bytes, webhook_id: str, part: str | None = None) -> dict[str, Any]:
        headers = samples.headers(body, secret=self._secret, timestamp=int(time.time()), webhook_id=webhook_id)
        headers, body = samples.tamper(headers, body, part)
        try:
            response = requests.post(self._url, data=body, headers=headers, timeout=_TIMEOUT)
        except (requests.RequestException, UnicodeError) as error:
            raise ValueError(f"The delivery was not answered ({type(error).__name__}).") from None
        return {"status": response.status_code, "webhook_id": webhook_id}

    def _save(self, arguments: dict[str, Any]) -> dict[str, str]:
        record = self._delivery(arguments)
        event = apigw_event.request_event(
            "POST", apigw_event.PATH, record["headers"], record["body"].encode(), now=int(record["time"])
        )
        name = re.sub(r"[^\w.-]", "_", f"{record['event_type']}-{record['id']}", flags=re.ASCII)[:100]
        path = SAVED / f"{name}.json"
        try:
            SAVED.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(event, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise ValueError(f"Cannot write {path}: {error.strerror}.") from None
        return {"path": str(path)}

    def _record(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        record_id = arguments.get("record_id")
        return (self.feed.get(record_id) if isinstance(record_id, int) else None) or {}

    def _delivery(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        record = self._record(arguments)
        if not record.get("headers"):
            raise ValueError("This record has no delivery any more. Choose another one.")
        return record
