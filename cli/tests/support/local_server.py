"""A web server on this machine that a user forwards events to."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Request(NamedTuple):
    """A request that arrived."""

    path: str
    headers: dict[str, str]
    """With lower-case names."""
    body: bytes


class LocalServer(ThreadingHTTPServer):
    """Records requests. It answers 200, unless `answers` has other answers: a status and a body each."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.requests: list[Request] = []
        self.answers: list[tuple[int, str]] = []
        self.hangs = False
        self.released = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: LocalServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append(Request(self.path, headers, body))
        if self.server.hangs:
            self.server.released.wait()
        status, text = self.server.answers.pop(0) if self.server.answers else (200, "")
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def local_server() -> Iterator[LocalServer]:
    """Run a server until the end of the `with` statement."""
    with LocalServer() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
