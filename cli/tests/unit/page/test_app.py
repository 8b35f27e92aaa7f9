"""The page's part of a web server, without a browser."""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from werkzeug import Request, Response
from werkzeug.test import Client, TestResponse

from openai_webhooks_cli.page import app
from openai_webhooks_cli.page.app import Page
from openai_webhooks_cli.page.feed import Feed

SEND = "/page/actions/send"
REQUESTS = [*(("GET", path) for path in ("/", "/page.js", "/page.css", "/page/info", "/page/events")), ("POST", SEND)]
INFO = {"title": "Test", "url": None, "types": ["batch.failed"]}
SECURITY = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Host:
    """A web server with the page. It answers 418 to everything that is not the page's."""

    def __init__(self) -> None:
        self.feed = Feed()
        self.inputs: list[dict[str, Any]] = []
        self.page = Page(self.feed, actions={"send": self._send, "save": self._save}, info=INFO)
        self._client = Client(Request.application(lambda request: self.page.respond(request) or Response(status=418)))

    def request(self, method: str, path: str, headers: dict[str, str] | None = None, **body: Any) -> TestResponse:
        headers = {"Host": "localhost:8787"} | (headers or {})
        return self._client.open(path, method=method, headers=headers, **(body or {"json": {}}))

    def stream(self, last_event_id: str = "") -> Iterator[str]:
        response = self.request("GET", "/page/events", {"Last-Event-ID": last_event_id})
        return (part.decode() for part in response.iter_encoded())

    def _send(self, values: dict[str, Any]) -> dict[str, Any]:
        self.inputs.append(values)
        return {"status": 200}

    def _save(self, values: dict[str, Any]) -> None:
        raise ValueError(f"There is no record {values['record_id']}.")


@pytest.fixture
def host() -> Host:
    return Host()


def _data(part: str) -> Any:
    return json.loads(part.partition("data: ")[2])


def _assert_secure(response: TestResponse) -> None:
    assert SECURITY.items() <= dict(response.headers).items()
    assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")


def test_requests_are_answered(host: Host) -> None:
    host.page.close()  # so that the stream ends
    answers = {path: host.request(method, path) for method, path in REQUESTS}

    for answer in answers.values():
        assert answer.status_code == 200, answer.request.path
        _assert_secure(answer)
    types = [answers[path].mimetype for path in ("/", "/page.js", "/page.css")]
    assert types == ["text/html", "text/javascript", "text/css"]
    assert answers["/page/info"].json == INFO | {"actions": ["send", "save"]}


def test_other_requests_are_left_to_the_host(host: Host) -> None:
    for method, path in (("POST", "/webhooks/openai"), ("POST", "/"), ("DELETE", SEND), ("GET", "/page/../app.py")):
        assert host.request(method, path).status_code == 418, path


def test_action_gets_input_and_answers(host: Host) -> None:
    sent = host.request("POST", SEND, json={"event_type": "x"})
    failed = host.request("POST", "/page/actions/save", json={"record_id": 7})

    assert (sent.status_code, sent.json) == (200, {"status": 200})
    assert host.inputs == [{"event_type": "x"}]
    assert (failed.status_code, failed.json) == (400, {"error": "There is no record 7."})


def test_request_that_is_no_action_is_refused(host: Host) -> None:
    assert host.request("POST", "/page/actions/explode").status_code == 404
    assert host.request("POST", SEND, json=[1]).status_code == 400
    assert host.request("POST", SEND, data="{", content_type="application/json").status_code == 400
    assert host.request("POST", SEND, data={"event_type": "x"}).status_code == 415
    assert host.inputs == []


def test_stream_sends_instance_then_old_and_new_records(host: Host) -> None:
    host.feed.add(outcome="published")
    stream = host.stream()

    hello = next(stream)
    assert "event: hello" in hello
    assert _data(hello)["instance"] != _data(next(Host().stream()))["instance"]
    assert next(stream) == 'id: 1\ndata: {"outcome": "published", "id": 1}\n\n'
    host.feed.add(outcome="duplicate")
    assert next(stream) == 'id: 2\ndata: {"outcome": "duplicate", "id": 2}\n\n'


@pytest.mark.parametrize(("last", "first"), [("1", 2), ("", 1), ("-1", 1), ("x", 1), ("9" * 5000, 1)])
def test_stream_continues_after_last_event_id(host: Host, last: str, first: int) -> None:
    host.feed.add()
    host.feed.add()

    _, record = islice(host.stream(last), 2)

    assert _data(record) == {"id": first}


def test_quiet_stream_has_heartbeat_until_close(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "HEARTBEAT", 0)
    _, heartbeat = islice(stream := host.stream(), 2)

    host.page.close()

    assert heartbeat.startswith(":")
    assert next(stream, "end") == "end"


def test_every_record_is_one_message_of_json(host: Host) -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    records: list[dict[str, Any]] = [
        *({"body": text} for text in ("line\nbreak", "data: x\r\n\r\nevent: hello", "\ud800", "\u2028")),
        *({"body": "", "bus_event": event} for event in ({"number": float("nan")}, deep)),
    ]
    for record in records:
        host.feed.add(**record)

    messages = list(islice(host.stream(), 1, 1 + len(records)))

    assert [message.count("\n") for message in messages] == [3] * len(records)
    assert [_data(message)["body"] for message in messages] == [record["body"] for record in records]
    assert "NaN" not in messages[4]  # Python reads NaN, but a browser does not
