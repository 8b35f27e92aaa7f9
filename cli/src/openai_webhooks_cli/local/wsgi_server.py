"""Small HTTP servers in threads of this process."""

import threading
from typing import TYPE_CHECKING

from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

LOOPBACK = "127.0.0.1"


class QuietHandler(WSGIRequestHandler):
    """A request handler that logs no requests."""

    def log_request(self, *_: object) -> None: ...


def start(
    application: "WSGIApplication",
    host: str = LOOPBACK,
    port: int = 0,
    request_handler: type[WSGIRequestHandler] = QuietHandler,
) -> BaseWSGIServer:
    """Serve in a thread. Port 0 chooses a free port. End it with `stop`."""
    server = make_server(host, port, application, threaded=True, request_handler=request_handler)
    # `stop` waits for one poll interval.
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server


def stop(server: BaseWSGIServer) -> None:
    """End a server, and free its port."""
    server.shutdown()
    server.server_close()
