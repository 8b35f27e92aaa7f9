"""`openai-webhooks send`, as a user types it."""

import json
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread
from typing import Any

import pytest
import trustme
from typer.testing import CliRunner, Result

from cli.tests.support.local_server import LocalServer, local_server
from openai_webhooks_cli import main, samples


@pytest.fixture
def receiver() -> Iterator[LocalServer]:
    with local_server() as server:
        yield server


@pytest.mark.parametrize(
    ("assignments", "data"),
    [
        pytest.param(["id=batch_7"], {"id": "batch_7"}, id="text"),
        pytest.param(["id=7"], {"id": "7"}, id="text that looks like JSON"),
        pytest.param(["id=a:=b=c"], {"id": "a:=b=c"}, id="text with separators"),
        pytest.param(["id="], {"id": ""}, id="empty text"),
        pytest.param(["id:=7"], {"id": 7}, id="number"),
        pytest.param(["id:=null"], {"id": None}, id="null"),
        pytest.param(["id:=[]"], {"id": []}, id="list"),
        pytest.param(["a.b:=true", "a.c=2", "id=3"], {"a": {"b": True, "c": "2"}, "id": "3"}, id="new object"),
        pytest.param(["id:={}", "id.x=1"], {"id": {"x": "1"}}, id="field of an object"),
    ],
)
def test_data_sets_fields(assignments: list[str], data: dict[str, Any], receiver: LocalServer) -> None:
    result = _send(receiver, "--id=wh_1", *[f"--data={assignment}" for assignment in assignments])

    assert result.exit_code == 0
    assert receiver.requests[0].headers["webhook-id"] == "wh_1"
    assert _data(receiver) == data


@pytest.mark.parametrize(
    ("event_type", "field", "warnings"),
    [("batch.failed", "id", 0), ("batch.failed", "it", 1), ("orchestra.tuned", "strings", 1)],
)
def test_unknown_field_or_type_is_sent_with_warning(
    receiver: LocalServer, event_type: str, field: str, warnings: int
) -> None:
    result = _send(receiver, f"--data={field}:=4", event_type=event_type)

    assert result.exit_code == 0
    assert len(result.stderr.splitlines()) == warnings
    assert _data(receiver)[field] == 4


def test_unknown_secret_of_variable_is_named(receiver: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver.answers = [(401, ""), (401, "")]
    monkeypatch.setenv(main.SECRET_VARIABLE, samples.new_secret())

    assert "unset OPENAI_WEBHOOK_SECRET" in _send(receiver).stderr
    assert "unset" not in _send(receiver, f"--secret={samples.new_secret()}").stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["--secret=hunter2"], "--secret", id="secret"),
        pytest.param(["--data=id"], "--data id", id="no value"),
        pytest.param(["--data==x"], "--data =x", id="no key"),
        pytest.param(["--data=:=1"], "--data :=1", id="no key for JSON"),
        pytest.param(["--data=a..b=1"], "--data a..b=1", id="empty part of a key"),
        pytest.param(["--data=id.x=1"], "--data id.x=1", id="field of a text"),
        pytest.param(["--data=id:=batch_7"], "--data id:=batch_7", id="no JSON"),
        pytest.param(["--data=id:=NaN"], "--data id:=NaN", id="not a number"),
        pytest.param(["--data=id:=" + "[" * 100_000], "--data id:=[", id="deep JSON"),
        pytest.param(["--data=id=\udcff"], "--data", id="no UTF-8"),
        pytest.param(['--data=id:="\\ud800"'], "--data", id="half a surrogate pair"),
        pytest.param(["--id="], "--id", id="empty id"),
        pytest.param(["--id=wh_1\r\nx: y"], "--id", id="line break in the id"),
        pytest.param(["--url=127.0.0.1:8787"], "--url", id="no scheme"),
        pytest.param(["--url=ftp://127.0.0.1/"], "--url", id="other scheme"),
        pytest.param(["--url=http://"], "--url", id="no host"),
        pytest.param(["--url=http://127.0.0.1:0/"], "--url", id="port 0"),
        pytest.param(["--url=http://[::1/"], "--url", id="half an address"),
        pytest.param(["--url=http://.example/"], "--url", id="empty label"),
    ],
)
def test_invalid_option_is_named(arguments: list[str], named: str) -> None:
    result = CliRunner().invoke(main.app, ["send", "batch.failed", *arguments])

    assert result.exit_code == 2
    assert named in result.stderr
    assert "make dev" not in result.output
    assert "hunter2" not in result.output


def test_each_fault_has_its_own_message(receiver: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same host and port do not make the difference: they are removed before the comparison."""
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    port = receiver.server_port
    with ExitStack() as stack:
        closed = _closed_port()
        urls = {
            "no scheme": f"localhost:{port}/",
            "other scheme": f"ftp://localhost:{port}/",
            "not a URL": "http://",
            "refused": f"http://localhost:{closed}/",
            "unknown host": "http://nowhere.invalid/",
            "untrusted": f"https://localhost:{stack.enter_context(_TlsServer()).port}/",
            "no TLS": f"https://localhost:{port}/",
            "no answer": f"http://localhost:{stack.enter_context(_SilentServer()).port}/",
        }
        results = {
            fault: CliRunner().invoke(main.app, ["send", "batch.failed", "--url", url]) for fault, url in urls.items()
        }
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed}")
    results["proxy"] = CliRunner().invoke(main.app, ["send", "batch.failed", "--url", "http://nowhere.invalid/"])

    messages = {re.sub(r"\S*(localhost|nowhere|http:)\S*", "", result.stderr) for result in results.values()}
    assert {result.exit_code for result in results.values()} == {2}
    assert len(messages) == len(results)
    assert [fault for fault, result in results.items() if "make dev" in result.stderr] == ["refused"]


def test_password_in_url_is_not_shown() -> None:
    url = f"http://user:hunter2@127.0.0.1:{_closed_port()}"
    result = CliRunner().invoke(main.app, ["send", "batch.failed", "--url", url])

    assert result.exit_code == 2
    assert "hunter2" not in result.output


class _SilentServer:
    """Accepts one connection, and closes it after the request."""

    def __enter__(self) -> "_SilentServer":
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = Thread(target=self._serve)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            self.answer(connection)

    def answer(self, connection: socket.socket) -> None:
        connection.recv(65536)


class _TlsServer(_SilentServer):
    """Has a certificate that nobody trusts."""

    def answer(self, connection: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("localhost").configure_cert(context)
        with pytest.raises(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)


def _send(receiver: LocalServer, *arguments: str, event_type: str = "batch.failed") -> Result:
    return CliRunner().invoke(main.app, ["send", event_type, f"--url={receiver.url}", *arguments])


def _data(receiver: LocalServer) -> dict[str, Any]:
    """Return the data of the event that arrived."""
    (request,) = receiver.requests
    data: dict[str, Any] = json.loads(request.body)["data"]
    return data


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
