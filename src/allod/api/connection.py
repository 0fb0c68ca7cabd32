"""One client's connection: how many there may be, and how long one may do nothing.

It stands between the event loop and uvicorn's own protocol, and passes everything on.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.server import ServerState

CROWDED = "crowded"
"""In a scope's state: its connection is one more than there may be."""

_SILENT_SECONDS = 60.0
_CROWDED_SILENT_SECONDS = 5.0
"""How long a new connection may wait before it says anything."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What connections may do.

    Attributes:
        served: so many at a time.
        open: so many at a time, those that are told that they are too many among them; more are cut off.
        stalled_seconds: one that takes nothing of what is written to it for so long is cut off.
    """

    served: int
    open: int
    stalled_seconds: float


class Connection(asyncio.Protocol):
    """Watches one connection for uvicorn.

    Args:
        limits: what it may do.
        server_state: knows the connections that are open.
        app_state: goes into each scope.
        passed_on: what uvicorn's own protocol takes beside these.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        *,
        server_state: ServerState,
        app_state: dict[str, Any],
        **passed_on: Any,
    ) -> None:
        others = len(server_state.connections)
        self._is_crowded = others >= limits.served
        self._is_hopeless = others >= limits.open
        self._stalled_seconds = limits.stalled_seconds
        state = {**app_state, CROWDED: True} if self._is_crowded else app_state
        make = cast("Callable[..., asyncio.Protocol]", AutoHTTPProtocol)
        self._inner = make(server_state=server_state, app_state=state, **passed_on)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._silence: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or end where there is no room left even for a refusal."""
        self._transport = cast("asyncio.Transport", transport)
        self._inner.connection_made(transport)
        patience_seconds = _CROWDED_SILENT_SECONDS if self._is_crowded else _SILENT_SECONDS
        self._silence = self._loop.call_later(patience_seconds, self._transport.close)
        if self._is_hopeless:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """The client says something."""
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """The client will say no more."""
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        for timer in (self._silence, self._stall):
            if timer is not None:
                timer.cancel()
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        """More waits to be read than the system takes: from now on the client has to make progress."""
        self._inner.pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """The client has read."""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        self._inner.resume_writing()

    def _watch(self) -> None:
        if self._transport is not None:
            unread_bytes = self._transport.get_write_buffer_size()
            self._stall = self._loop.call_later(self._stalled_seconds, self._check, unread_bytes)

    def _check(self, unread_bytes: int) -> None:
        self._stall = None
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() < unread_bytes:
            self._watch()
        else:
            self._transport.abort()
