"""A proxy between the function and one AWS service, which fails on demand."""

import http.client
import socket
import ssl
import struct
import threading
import time
from contextlib import ExitStack, closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final


class FaultyProxy(ThreadingHTTPServer):
    """Passes requests on to AWS, or fails like a service or a network. `tls` makes it an HTTPS server."""

    daemon_threads = True

    def __init__(self, target: str, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.target = target.removeprefix("http://")
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}"
        self._tls = tls
        self._full_backlog = ExitStack()
        self.requests = 0
        self.fault = ""
        self._released = threading.Event()
        self._serve()

    def fail(self, fault: str) -> None:
        """Fail from now on, or only at the next request if the fault ends with ` once`."""
        self.fault = fault
        self._released.clear()
        if fault in {"refused", "hangs at connect"}:
            self.close()
        if fault == "hangs at connect":
            self._fill_backlog()

    def recover(self) -> None:
        if self.fault in {"refused", "hangs at connect"}:
            self._full_backlog.close()
            self.socket = socket.socket()
            self.server_bind()
            self.server_activate()
            self._serve()
        self.fault = ""
        self._released.set()

    def close(self) -> None:
        self._released.set()
        self.shutdown()
        self.server_close()

    def hang(self) -> None:
        self._released.wait()

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.fault == "hangs in TLS":
            self.hang()
        elif self._tls:
            with self._tls.wrap_socket(request, server_side=True) as secured:
                super().finish_request(secured, client_address)
        else:
            super().finish_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        # The base class would end the connection in order first, and a reset must stay a reset.
        self.close_request(request)

    def _fill_backlog(self) -> None:
        """Listen without accepting. The system ignores further connections while the backlog is full."""
        listener = self._full_backlog.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(self.server_address)
        listener.listen(0)
        for _ in range(3):
            waiting = self._full_backlog.enter_context(socket.socket())
            waiting.settimeout(0)
            waiting.connect_ex(self.server_address)

    def _serve(self) -> None:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()


class _Relay(BaseHTTPRequestHandler):
    # HTTP/1.0: with a connection for each request, a fault applies from the next request on.
    server: FaultyProxy

    ERRORS: Final = {
        "throttled": (400, "application/x-amz-json-1.0", b'{"__type": "ThrottlingException", "message": "Slow down"}'),
        "error 500": (500, "application/x-amz-json-1.0", b'{"__type": "InternalFailure"}'),
        "busy": (503, "application/x-amz-json-1.0", b'{"__type": "ServiceUnavailable"}'),
        "bad gateway": (502, "text/html", b"<html><body>Bad Gateway</body></html>"),
    }

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.requests += 1
        fault, once, _ = self.server.fault.partition(" once")
        if once:
            self.server.fault = ""
        if fault in self.ERRORS:
            self._answer(*self.ERRORS[fault])
        elif fault == "hangs":
            self.server.hang()
        elif fault == "reset":
            self._reset()
        elif fault == "slow":
            time.sleep(0.5)
            self._answer(*self._pass_on(body))
        else:
            status, content_type, answer = self._pass_on(body)
            if fault == "answer lost":
                self._reset()
            else:
                self._answer(status, content_type, answer)

    def _pass_on(self, body: bytes) -> tuple[int, str, bytes]:
        with closing(http.client.HTTPConnection(self.server.target)) as connection:
            connection.request("POST", self.path, body, dict(self.headers))
            response = connection.getresponse()
            return response.status, response.headers["content-type"], response.read()

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", content_type)
        self.send_header("content-length", str(len(body)))
        if status == 503:
            self.send_header("x-amz-retry-after", "5000")  # milliseconds
        self.end_headers()
        self.wfile.write(body)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the name in the base class
        pass
