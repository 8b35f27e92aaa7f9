"""The page's part of a web server, without a browser."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from werkzeug import Request, Response
from werkzeug.test import Client, TestResponse

from openai_webhooks_cli.page import app
from openai_webhooks_cli.page.app import Page
from openai_webhooks_cli.page.feed import Feed

PATHS = [
    ("GET", "/"),
    ("GET", "/page.js"),
    ("GET", "/page.css"),
    ("GET", "/page/info"),
    ("GET", "/page/events"),
    ("POST", "/page/actions/send"),
]
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
        self.page = Page(
            self.feed,
            actions={"send": self._send, "save": self._save},
            info={"title": "Test", "url": None, "types": ["batch.failed"]},
        )
        self.client = Client(Request.application(lambda request: self.page.respond(request) or Response(status=418)))

    def request(self, method: str, path: str, *, body: Any = None, **headers: str) -> TestResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        json_body = {} if method == "POST" and body is None else body
        return self.client.open(path, method=method, headers={"Host": "localhost:8787", **names}, json=json_body)

    def stream(self, **headers: str) -> Iterator[str]:
        return (
            part.decode() if isinstance(part, bytes) else part
            for part in self.request("GET", "/page/events", **headers).iter_encoded()
        )

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


def test_static_files_are_served(host: Host) -> None:
    for path, content_type in (("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")):
        response = host.request("GET", path)

        assert (response.status_code, response.mimetype) == (200, content_type), path


def test_info_lists_actions(host: Host) -> None:
    info = {"title": "Test", "url": None, "types": ["batch.failed"], "actions": ["send", "save"]}

    assert host.request("GET", "/page/info").json == info


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/webhooks/openai"), ("POST", "/"), ("DELETE", "/page/info"), ("GET", "/page/../app.py")],
)
def test_other_requests_are_left_to_the_host(host: Host, method: str, path: str) -> None:
    assert host.request(method, path).status_code == 418


@pytest.mark.parametrize("name", ["localhost", "LOCALHOST:80", "127.0.0.1:8787", "[::1]:8787"])
def test_loopback_hosts_are_answered(host: Host, name: str) -> None:
    assert host.request("GET", "/", Host=name).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        *({"Host": name} for name in ("example.com", "localhost.example.com", "127.0.0.1.nip.io", "localhost:1@x", "")),
        *({"Origin": site} for site in ("http://example.com", "http://localhost:3000", "https://localhost:8787")),
        {"Origin": "null"},
        # A request through a tunnel.
        *({name: "203.0.113.7"} for name in ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host")),
    ],
    ids=str,
)
def test_foreign_request_is_refused(host: Host, headers: dict[str, str]) -> None:
    for method, path in PATHS:
        assert host.request(method, path, **headers).status_code == 403, path
    assert host.inputs == []


def test_every_answer_has_security_headers(host: Host) -> None:
    host.page.close()

    for method, path in PATHS:
        for response in (host.request(method, path), host.request(method, path, Host="example.com")):
            assert SECURITY.items() <= dict(response.headers).items(), path
            assert response.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';")


def test_action_gets_input_and_answers(host: Host) -> None:
    response = host.request("POST", "/page/actions/send", body={"event_type": "x"}, Origin="http://localhost:8787")

    assert (response.status_code, response.json) == (200, {"status": 200})
    assert host.inputs == [{"event_type": "x"}]


def test_action_that_raises_value_error_answers_its_text(host: Host) -> None:
    response = host.request("POST", "/page/actions/save", body={"record_id": 7})

    assert (response.status_code, response.json) == (400, {"error": "There is no record 7."})


def test_request_that_is_no_action_is_refused(host: Host) -> None:
    url, headers = "/page/actions/send", {"Host": "localhost"}

    assert host.request("POST", "/page/actions/explode").status_code == 404
    assert host.request("POST", url, body=[1]).status_code == 400
    assert host.client.post(url, data="{", headers=headers, content_type="application/json").status_code == 400
    assert host.client.post(url, data={"event_type": "x"}, headers=headers).status_code == 415
    assert host.inputs == []


def test_stream_starts_with_instance(host: Host) -> None:
    first, other = next(host.stream()), next(Host().stream())

    assert "event: hello" in first
    assert _data(first)["instance"] != _data(other)["instance"]


def test_stream_sends_records_that_exist_and_new_ones(host: Host) -> None:
    host.feed.add(outcome="published")
    stream = host.stream()
    next(stream)

    assert next(stream) == 'id: 1\ndata: {"outcome": "published", "id": 1}\n\n'
    host.feed.add(outcome="duplicate")
    assert next(stream) == 'id: 2\ndata: {"outcome": "duplicate", "id": 2}\n\n'


@pytest.mark.parametrize(("last", "first"), [("1", 2), ("", 1), ("-1", 1), ("x", 1), ("9" * 5000, 1)])
def test_stream_continues_after_last_event_id(host: Host, last: str, first: int) -> None:
    host.feed.add()
    host.feed.add()
    stream = host.stream(Last_Event_ID=last)
    next(stream)

    assert _data(next(stream)) == {"id": first}


def test_quiet_stream_has_heartbeat(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "HEARTBEAT", 0)
    stream = host.stream()
    next(stream)

    assert next(stream).startswith(":")


def test_close_ends_stream(host: Host) -> None:
    stream = host.stream()
    next(stream)

    host.page.close()

    assert [part for part in stream if not part.startswith(":")] == []


@pytest.mark.parametrize("text", ["line\nbreak", "data: x\r\n\r\nevent: hello", "\ud800", "\u2028"])
def test_text_of_record_stays_in_one_line(host: Host, text: str) -> None:
    host.feed.add(body=text)
    stream = host.stream()
    next(stream)

    part = next(stream)

    assert part.count("\n") == 3
    assert _data(part)["body"] == text


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("event", [{"number": float("nan")}, _nested(100_000)], ids=["NaN", "deep"])
def test_event_that_is_no_json_does_not_end_stream(host: Host, event: Any) -> None:
    host.feed.add(outcome="published", bus_event=event)
    stream = host.stream()
    next(stream)

    assert _data(next(stream))["outcome"] == "published"
