"""The receiver's connections to AWS: whom they trust, and that this is not found out anew for each of them."""

import importlib
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import trustme
from botocore.exceptions import SSLError

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient


class _Bus(BaseHTTPRequestHandler):
    """Takes each entry, and ends the connection, as AWS does with idle ones."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        body = b'{"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}'
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Clients that don't trust it leave in the middle of the handshake."""


@contextmanager
def _serving(certificate: trustme.LeafCert) -> Iterator[int]:
    server = _Server(("127.0.0.1", 0), _Bus)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the only authority that is trusted."""
    bundle = tmp_path / "bundle.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    return bundle


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """`receiver.aws`, freshly imported."""
    monkeypatch.delitem(sys.modules, "receiver.aws", raising=False)
    return importlib.import_module("receiver.aws")


def _client(aws: ModuleType, port: int, host: str = "localhost") -> "EventBridgeClient":
    session = boto3.Session("access", "secret", region_name="us-east-1")
    client: EventBridgeClient = session.client("events", config=aws.CONFIG, endpoint_url=f"https://{host}:{port}")
    return client


def _publish(client: "EventBridgeClient") -> Any:
    return client.put_events(Entries=[{"Source": "s", "DetailType": "t", "Detail": "{}"}])["Entries"][0]["EventId"]


def test_authorities_are_read_once_for_all_connections(
    authority: trustme.CA, trusted: Path, aws: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, *bundle: Any, **others: Any) -> None:
        read.extend(bundle)
        load(context, *bundle, **others)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    with _serving(authority.issue_cert("localhost")) as port:
        clients = [_client(aws, port) for _ in range(3)]
        assert read == [str(trusted)]  # before the first connection, so that a snapshot has them
        assert [_publish(client) for client in clients for _ in range(2)] == ["1"] * 6
    assert read == [str(trusted)]


def test_a_certificate_of_another_authority_is_refused(trusted: Path, aws: ModuleType) -> None:
    with (
        _serving(trustme.CA().issue_cert("localhost")) as port,
        pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        _publish(_client(aws, port))


def test_a_certificate_of_another_host_is_refused(authority: trustme.CA, trusted: Path, aws: ModuleType) -> None:
    with (
        _serving(authority.issue_cert("example.com")) as port,
        pytest.raises(SSLError, match=r"doesn't match 'example\.com'"),
    ):
        _publish(_client(aws, port))


def test_a_self_signed_certificate_is_refused_without_a_bundle_of_ones_own(
    authority: trustme.CA, aws: ModuleType
) -> None:
    with (
        _serving(authority.issue_cert("localhost")) as port,
        pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        _publish(_client(aws, port))
