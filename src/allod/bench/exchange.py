"""One HTTP request on a connection of its own, with the time at which each piece of its answer arrived.

A client that measures shares the machine with the server, so it does nothing per token but note the time:
bytes are read after the clock has stopped. That is why there is no HTTP library here but a parser
(docs/decisions/0012-bench.md has the figures).
"""

import asyncio
import errno
import ssl
import time
from dataclasses import dataclass, field
from functools import partial
from typing import cast
from urllib.parse import urlsplit

from httptools import HttpParserError, HttpResponseParser

from allod.core.errors import ConfigurationError

TIMEOUT = "timeout"
NO_CONNECTION = "no connection"
NO_FILES = "client out of files"
BROKEN_OFF = "broken off"
DROPPED = "dropped by us"
MALFORMED = "malformed"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server's API is.

    Attributes:
        path: what stands before `/chat/completions`, such as `/v1`.
        numeric: the address behind `host`, once it is known: a thousand clients need not all look it up.
    """

    host: str
    port: int
    tls: bool
    path: str
    numeric: str = ""

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read a base URL, with `/v1` or without.

        Raises:
            ConfigurationError: it is not one.
        """
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(f"{url}: not an address ({error}); write http://HOST:PORT") from error
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"{url}: not an address of a server; write http://HOST:PORT")
        path = parts.path.rstrip("/")
        tls = parts.scheme == "https"
        path = path if path.endswith("/v1") else f"{path}/v1"
        return cls(parts.hostname, port or (443 if tls else 80), tls, path)

    def request(self, method: str, route: str, body: bytes | None, key: str | None) -> bytes:
        """The bytes of a request; the server is asked to close the connection after it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        lines = [f"{method} {self.path}{route} HTTP/1.1", f"Host: {host}:{self.port}", "Connection: close"]
        lines += ["Accept: text/event-stream, application/json", "User-Agent: allod-bench"]
        if key:
            lines.append(f"Authorization: Bearer {key}")
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


@dataclass(slots=True)
class Reply:
    """What came back. Times are seconds of `time.perf_counter`.

    Attributes:
        opened: when the connection was asked for.
        sent: when it stood and the request left; None when it never stood.
        ended: when all was over.
        status: of HTTP; 0 when no head came.
        server: the name it gives itself.
        peer: the numeric address that was connected to.
        pieces: bodies as they arrived, with the time; a piece is what one read of the socket brought, cut
            where chunks of HTTP end.
        failure: what kind of end it was; empty when the answer is whole.
    """

    opened: float = 0.0
    sent: float | None = None
    ended: float = 0.0
    status: int = 0
    server: str = ""
    peer: str = ""
    pieces: list[tuple[float, bytes]] = field(default_factory=list[tuple[float, bytes]])
    failure: str = ""

    @property
    def body(self) -> bytes:
        """All pieces."""
        return b"".join(piece for _, piece in self.pieces)


class _Connection(asyncio.Protocol):
    """Feeds the parser; its callbacks are httptools'."""

    def __init__(self, request: bytes, reply: Reply, done: asyncio.Future[str]) -> None:
        self._request = request
        self._reply = reply
        self._done = done
        self._parser = HttpResponseParser(self)
        self._now = 0.0
        self._is_framed = False
        self.awaited: tuple[int, asyncio.Future[None]] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._reply.peer = transport.get_extra_info("peername", ("",))[0]
        self._reply.sent = time.perf_counter()
        self.transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._now = time.perf_counter()
        try:
            self._parser.feed_data(data)
        except HttpParserError:
            self.finish(MALFORMED)

    def connection_lost(self, exc: Exception | None) -> None:
        ends_with_connection = self._reply.status and not self._is_framed and exc is None
        self.finish("" if ends_with_connection else BROKEN_OFF)

    def on_header(self, name: bytes, value: bytes) -> None:
        lowered = name.lower()
        self._is_framed |= lowered in (b"content-length", b"transfer-encoding")
        if lowered == b"server":
            self._reply.server = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._reply.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        pieces = self._reply.pieces
        pieces.append((self._now, body))
        if self.awaited is not None and len(pieces) >= self.awaited[0]:
            self._wake()

    def on_message_complete(self) -> None:
        self.finish("")

    def finish(self, failure: str) -> None:
        """Note how it ended; only the first end counts."""
        if self._done.done():
            return
        self._reply.ended = time.perf_counter()
        self._done.set_result(failure)
        self._wake()

    def _wake(self) -> None:
        if self.awaited is not None and not self.awaited[1].done():
            self.awaited[1].set_result(None)


class Exchange:
    """A request and its answer; made within a running event loop, and run once.

    Args:
        address: of the server.
        request: all its bytes.
        patience_seconds: after which it is given up.

    Attributes:
        reply: what came so far.
    """

    def __init__(self, address: Address, request: bytes, patience_seconds: float) -> None:
        self.reply = Reply()
        self._address = address
        self._patience_seconds = patience_seconds
        self._done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._connection = _Connection(request, self.reply, self._done)

    async def run(self) -> Reply:
        """Connect, send, and wait for the end, whatever it is; the end is in `Reply.failure`."""
        loop = asyncio.get_running_loop()
        address = self._address
        context = ssl.create_default_context() if address.tls else None
        name = address.host if address.tls else None
        self.reply.opened = time.perf_counter()
        try:
            async with asyncio.timeout(self._patience_seconds):
                made = partial(_as_is, self._connection)
                host = address.numeric or address.host
                await loop.create_connection(made, host, address.port, ssl=context, server_hostname=name)
                self.reply.failure = await asyncio.shield(
                    self._done
                )  # its end must still be noted after a timeout
        except TimeoutError:
            self._connection.finish(TIMEOUT)
            self.reply.failure = TIMEOUT
        except OSError as error:
            kind = NO_FILES if error.errno in (errno.EMFILE, errno.ENFILE) else NO_CONNECTION
            self._connection.finish(kind)
            self.reply.failure = kind
        finally:
            if self._connection.transport is not None:
                self._connection.transport.abort()
        return self.reply

    async def heard(self, pieces: int) -> bool:
        """Wait until so many pieces of the body are there; False when it ended before."""
        if len(self.reply.pieces) < pieces and not self._done.done():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._connection.awaited = (pieces, waiter)
            await waiter
        return len(self.reply.pieces) >= pieces

    def drop(self) -> None:
        """Break the connection off, as a client that goes away does."""
        self._connection.finish(DROPPED)
        if self._connection.transport is not None:
            self._connection.transport.abort()


def _as_is(connection: _Connection) -> _Connection:
    return connection
