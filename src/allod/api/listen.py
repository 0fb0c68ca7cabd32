"""Listen on a port until told to stop, then stop in order."""

import asyncio
import errno
import gc
import logging
import math
import signal
import socket
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import cast

from starlette.types import ASGIApp
from uvicorn import Config, Server

from allod.api.connection import Connection, ConnectionLimits
from allod.api.descriptors import allowed_descriptors
from allod.api.feed import OpenFeeds
from allod.api.hosts import canonical, is_wildcard
from allod.api.settings import ApiSettings
from allod.core.errors import ConfigurationError, ModelUnavailable

OnListening = Callable[[str], None]
"""Told the base URL once connections are accepted."""

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_BACKLOG = 2048
_AFTER_GRACE_SECONDS = 5  # for error events to leave and iterators to close, before connections are cut
_MOST_REFUSED = 2 * _BACKLOG
"""Connections beyond those that are served, open at a time to be told so."""

_OTHER_DESCRIPTORS = 128
"""For workers, the store, pictures that are fetched, and what libraries open."""

_FEWEST_CONNECTIONS = 8
_log = logging.getLogger(__name__)
_NO_SUCH_FAMILY = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


def bind(settings: ApiSettings) -> tuple[socket.socket, ...]:
    """Sockets bound where the settings say; `localhost` is both loopback addresses.

    Raises:
        ConfigurationError: the port is taken, or the address is not one of this machine.
    """
    host = canonical(settings.host)
    if host != "localhost":
        return (_claim(settings, host, settings.port),)
    four = _claim(settings, "127.0.0.1", settings.port)
    port: int = four.getsockname()[1]
    try:
        return four, _claim(settings, "::1", port)
    except ConfigurationError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _NO_SUCH_FAMILY:
            return (four,)  # a machine without IPv6
        four.close()
        raise


def connection_limits(settings: ApiSettings) -> ConnectionLimits:
    """What connections may do: as many as the settings say, or as the system has descriptors for."""
    allowed = allowed_descriptors(settings.max_connections + _MOST_REFUSED + _OTHER_DESCRIPTORS)
    most = max(_FEWEST_CONNECTIONS, allowed - _OTHER_DESCRIPTORS)
    served = min(settings.max_connections, most * 3 // 4)  # the rest is for saying no
    if served < settings.max_connections:
        _log.warning(
            "the system allows %d open files, so %d connections are served at a time and not %d; "
            "raise its limit (ulimit -n), or lower api.max_connections",
            allowed, served, settings.max_connections,
        )  # fmt: skip
    return ConnectionLimits(served, most, settings.stalled_seconds, settings.head_seconds)


def base_url(settings: ApiSettings, port: int) -> str:
    """The address a client on this machine uses."""
    host = "127.0.0.1" if is_wildcard(settings.host) else canonical(settings.host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def run(app: ASGIApp, settings: ApiSettings, feeds: OpenFeeds, on_listening: OnListening) -> int:
    """Serve until SIGINT or SIGTERM; 0 when the stop was orderly.

    Raises:
        ConfigurationError: the address cannot be listened on.
    """
    sockets = bind(settings)
    config = Config(
        app,
        loop="auto",  # uvloop and httptools where they are
        http=cast("type[asyncio.Protocol]", partial(Connection, connection_limits(settings))),
        ws="websockets-sansio",
        ws_max_size=settings.max_body_bytes,
        ws_per_message_deflate=False,  # a token's event is too short to gain from it
        lifespan="on",
        access_log=False,  # ours leaves out what is private
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace_seconds) + _AFTER_GRACE_SECONDS,
    )
    url = base_url(settings, sockets[0].getsockname()[1])
    server = GracefulServer(config, feeds, settings.shutdown_grace_seconds, lambda: on_listening(url))
    # All this stays until the end. A full collection that looks at it anew would stop every stream for 50 ms.
    gc.collect()
    gc.freeze()
    server.run(list(sockets))
    return 0


class GracefulServer(Server):
    """A uvicorn server whose open answers get a grace period, then an error event.

    The first signal starts the stop, the second ends the grace period. No signal is raised again
    afterwards: stopping when asked to is success.
    """

    def __init__(
        self, config: Config, feeds: OpenFeeds, grace_seconds: float, on_listening: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._feeds = feeds
        self._grace_seconds = grace_seconds
        self._on_listening = on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, then say so."""
        await super().startup(sockets)
        self._on_listening()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more, wait for open answers as long as they have grace, then end them."""
        timer = asyncio.get_running_loop().call_later(self._grace_seconds, self._end_answers)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()

    def stop(self) -> None:
        """Ask for the stop; asked twice, the grace period is over."""
        if self.should_exit:
            self._end_answers()
        self.should_exit = True

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Obey signals from inside the loop, where they can end answers."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only a main thread gets signals
            return
        if sys.platform == "win32":
            with super().capture_signals():  # its loops have no handlers
                yield
            return
        loop = asyncio.get_running_loop()
        for number in _STOP_SIGNALS:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in _STOP_SIGNALS:
                loop.remove_signal_handler(number)

    def _end_answers(self) -> None:
        self._feeds.end_all(ModelUnavailable("The server is shutting down; ask again when it is back."))


def _claim(settings: ApiSettings, address: str, port: int) -> socket.socket:
    try:
        return _bound(address, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            message = f"port {port} on {address} is in use by another program; choose another with --port."
        else:
            message = f"cannot listen on api.host = {settings.host!r}, port {port}: {error.strerror or error}"
        raise ConfigurationError(message) from error


def _bound(address: str, port: int) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address or "0.0.0.0",
        port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_PASSIVE,
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if is_wildcard(address) else 1)
        bound.bind(where)
        bound.listen(_BACKLOG)
        bound.setblocking(False)  # noqa: FBT003 - the standard library's own signature
    except OSError:
        bound.close()
        raise
    return bound
