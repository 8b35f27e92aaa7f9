"""A fast HTTP/1.1 server on the loopback address, for botocore and Lambda's runtime client only.

It can fail like a network: reset a connection, never answer, or answer very slowly.
"""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

LOOPBACK = "127.0.0.1"

_TRICKLE = 0.3  # seconds between two bytes, less than the read timeout of any client
_LINGER = struct.pack("ii", 1, 0)  # socket(7): close with a reset


class Request(NamedTuple):
    method: str
    path: str
    headers: Mapping[str, str]
    """With lower-case names."""
    body: bytes


type Handle = Callable[[Request, "Connection"], None]
"""Handles a request: calls one of the connection's methods, now or later. Without a call, the client waits."""


class Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    _transport: asyncio.Transport

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = self._received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = end + 4 + int(headers.get("content-length", 0))
        if len(self._received) < length:
            return
        method, path, _ = first.split(" ")
        body = bytes(self._received[end + 4 : length])
        del self._received[:length]
        self._handle(Request(method, path, headers, body), self)

    def answer(self, status: int, body: bytes = b"{}", headers: Mapping[str, str] | None = None) -> None:
        """Answer the request with JSON. Do nothing if the client has closed the connection."""
        lines = [
            f"HTTP/1.1 {status} .",
            f"content-length: {len(body)}",
            "content-type: application/json",
            *(f"{name}: {value}" for name, value in (headers or {}).items()),
        ]
        if not self._transport.is_closing():
            self._transport.write("\r\n".join([*lines, "\r\n"]).encode() + body)

    def reset(self) -> None:
        """Reset the connection, as if this process had crashed."""
        connected: socket.socket = self._transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        self._transport.abort()

    def trickle(self) -> None:
        """Send an answer byte by byte until the client closes the connection. No single read times out."""
        self._transport.write(b"HTTP/1.1 200 .\r\ncontent-length: 1000000\r\n\r\n")
        self._drip()

    def _drip(self) -> None:
        if not self._transport.is_closing():
            self._transport.write(b" ")
            asyncio.get_running_loop().call_later(_TRICKLE, self._drip)


async def listen(handle: Handle, *, tls: ssl.SSLContext | None = None) -> asyncio.Server:
    """Serve on a free port until the server is closed."""
    return await asyncio.get_running_loop().create_server(
        lambda: Connection(handle), LOOPBACK, 0, ssl=tls, backlog=1000
    )


async def close(server: asyncio.Server) -> None:
    """Close the server and its connections."""
    server.close()
    server.abort_clients()
    await server.wait_closed()


def port(server: asyncio.Server) -> int:
    """Return the server's port."""
    number: int = server.sockets[0].getsockname()[1]
    return number


def encode(value: object) -> bytes:
    """Return compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()
