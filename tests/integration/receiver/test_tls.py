"""The receiver's TLS connections to AWS: which authorities they trust, and that these are read once."""

import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import trustme
from botocore.exceptions import SSLError
from botocore.httpsession import URLLib3Session

from receiver import tls
from receiver.aws import CONFIG

if TYPE_CHECKING:
    from mypy_boto3_events import EventBridgeClient


class _Bus(BaseHTTPRequestHandler):
    """Accepts each entry and ends the connection, as AWS ends idle connections."""

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
        """A client that does not trust the server leaves during the handshake."""


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
    """The file of the only trusted authority."""
    bundle = tmp_path / "bundle.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    return bundle


@pytest.fixture(autouse=True)
def shared_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Share a TLS context, as app.py does, in this test only."""
    for name in ("_get_ssl_context", "_setup_ssl_cert"):
        monkeypatch.setattr(URLLib3Session, name, getattr(URLLib3Session, name))
    tls._context.cache_clear()
    tls.share_tls_context()


def _client(port: int, host: str = "localhost") -> "EventBridgeClient":
    session = boto3.Session("access", "secret", region_name="us-east-1")
    client: EventBridgeClient = session.client("events", config=CONFIG, endpoint_url=f"https://{host}:{port}")
    return client


def _publish(client: "EventBridgeClient") -> Any:
    return client.put_events(Entries=[{"Source": "s", "DetailType": "t", "Detail": "{}"}])["Entries"][0]["EventId"]


def test_authorities_are_read_once(authority: trustme.CA, trusted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    load = ssl.SSLContext.load_verify_locations

    def counted(context: ssl.SSLContext, *bundle: Any, **others: Any) -> None:
        read.extend(bundle)
        load(context, *bundle, **others)

    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", counted)
    with _serving(authority.issue_cert("localhost")) as port:
        clients = [_client(port) for _ in range(3)]
        assert read == [str(trusted)]  # before the first connection, so that a snapshot contains them
        assert [_publish(client) for client in clients for _ in range(2)] == ["1"] * 6
    assert read == [str(trusted)]


def test_certificate_of_another_authority_is_refused(trusted: Path) -> None:
    with (
        _serving(trustme.CA().issue_cert("localhost")) as port,
        pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        _publish(_client(port))


def test_certificate_of_another_host_is_refused(authority: trustme.CA, trusted: Path) -> None:
    with (
        _serving(authority.issue_cert("example.com")) as port,
        pytest.raises(SSLError, match=r"doesn't match 'example\.com'"),
    ):
        _publish(_client(port))


def test_private_authority_needs_a_bundle(authority: trustme.CA) -> None:
    with (
        _serving(authority.issue_cert("localhost")) as port,
        pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        _publish(_client(port))


@pytest.mark.parametrize("method", ["_get_ssl_context", "_setup_ssl_cert"])
def test_missing_method_of_botocore_fails_at_init(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(URLLib3Session, method)
    with pytest.raises(RuntimeError, match=f"no {method} any more"):
        tls.share_tls_context()


def test_import_changes_no_other_client() -> None:
    script = (
        "from botocore.httpsession import URLLib3Session as Session; before = dict(vars(Session));"
        "import receiver.aws, receiver.tls; assert dict(vars(Session)) == before"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
