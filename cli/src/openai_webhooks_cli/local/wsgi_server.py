"""Small HTTP servers in threads of this process."""

import socket
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug import Request, Response
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from openai_webhooks_cli.local.guard import Refusal, refuse_foreign

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

LOOPBACK = "127.0.0.1"


class QuietHandler(WSGIRequestHandler):
    """A request handler that logs no requests."""

    def log_request(self, *_: object) -> None: ...


def start(
    application: "WSGIApplication",
    listener: socket.socket | None = None,
    request_handler: type[WSGIRequestHandler] = QuietHandler,
    *,
    refuse: Refusal = refuse_foreign,
) -> BaseWSGIServer:
    """Serve in a thread, on `listener` or on a free port of the loopback address. End it with `stop`.

    Requests that `refuse` refuses get 403.

    The server has a copy of `listener`, so `listener` is closed here.
    """

    def respond(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if reason := refuse(Request(environ)):
            return Response(f"{reason}\n", 403, content_type="text/plain")(environ, start_response)
        return application(environ, start_response)

    with listener or socket.create_server((LOOPBACK, 0)) as listening:
        host, port = listening.getsockname()
        server = make_server(host, port, respond, threaded=True, request_handler=request_handler, fd=listening.fileno())
    # `stop` waits for one poll interval.
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


def stop(server: BaseWSGIServer) -> None:
    """End a server, and free its port."""
    server.shutdown()
    server.server_close()
