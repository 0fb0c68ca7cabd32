"""One client's connection: how many there may be, and how long one may do nothing.

It stands between the event loop and uvicorn's own protocol, and passes everything on. What happens inside
of a request it learns from `api/arrival.py`, since only uvicorn's parser knows where a head ends.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol
from uvicorn.server import ServerState

from allod.api.errors import error_response
from allod.api.exchange import new_request_id
from allod.api.turns import HURRIED, Turn, move
from allod.core.errors import RequestTimeout

CROWDED = "crowded"
"""In a scope's state: its connection is one more than there may be."""

CONNECTION = "connection"
"""In a scope's state: its Connection."""

_CROWDED_SECONDS = 5.0
"""How long a connection may take that is one more than there may be; not longer than others."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What connections may do.

    Attributes:
        served: so many at a time.
        open: so many at a time, those that are told that they are too many among them; more are cut off.
        stalled_seconds: one that takes nothing of what is written to it for so long is cut off.
        head_seconds: one that has not said a word for so long is closed, and one that began the head of a
            request so long ago and has not finished it.
    """

    served: int
    open: int
    stalled_seconds: float
    head_seconds: float


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
        is_crowded = others >= limits.served
        self._is_hopeless = others >= limits.open
        self._stalled_seconds = limits.stalled_seconds
        patience_seconds = _CROWDED_SECONDS if is_crowded else limits.head_seconds
        self._hurry_seconds = min(patience_seconds, limits.head_seconds)
        state = {**app_state, CONNECTION: self, CROWDED: is_crowded}
        make = cast("Callable[..., asyncio.Protocol]", AutoHTTPProtocol)
        self._inner = make(server_state=server_state, app_state=state, **passed_on)
        self._server_state = server_state
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._turn = Turn.SILENT
        self._hurry: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, or end where there is no room left even for a refusal."""
        self._transport = cast("asyncio.Transport", transport)
        self._inner.connection_made(transport)
        self._wind()
        if self._is_hopeless:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """The client says something."""
        if self._turn in (Turn.SILENT, Turn.IDLE):
            self._move(Turn.ASKING)
        self._inner.data_received(data)

    def begin(self) -> None:
        """The head of a request is complete: it is the server's turn."""
        self._move(Turn.SERVED)

    def end(self, *, is_whole: bool) -> None:
        """The answer is complete.

        Args:
            is_whole: nothing of the request's body is still to come.
        """
        self._move(Turn.IDLE if is_whole else Turn.OWING)

    def eof_received(self) -> bool | None:
        """The client will say no more."""
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        for timer in (self._hurry, self._stall):
            if timer is not None:
                timer.cancel()
        self._transport = None
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

    def _move(self, target: Turn) -> None:
        self._turn = move(self._turn, target)
        self._wind()

    def _wind(self) -> None:
        """Give the client its time, if it is to act."""
        if self._hurry is not None:
            self._hurry.cancel()
            self._hurry = None
        if self._turn in HURRIED and self._transport is not None:
            self._hurry = self._loop.call_later(self._hurry_seconds, self._hang_up)

    def _hang_up(self) -> None:
        """The time is over. Whoever has begun to ask is told so."""
        self._hurry = None
        if self._transport is None or self._transport.is_closing():
            return
        if self._turn is Turn.ASKING:
            self._transport.write(self._reproach())
        self._transport.close()

    def _reproach(self) -> bytes:
        """The whole answer to half a head: there is no scope yet, and no application to answer."""
        error = RequestTimeout(
            f"The head of the request was not complete after {self._hurry_seconds:g} seconds (the setting "
            "api.head_seconds; less where too many are connected). Send the request again, without pauses."
        )
        answer, request = error_response(error), new_request_id()
        _log.info("%s: no complete head in %g seconds", request, self._hurry_seconds)
        named = (b"x-request-id", request.encode())
        headers = (*self._server_state.default_headers, *answer.raw_headers, named)
        fields = b"".join(b"%b: %b\r\n" % header for header in headers)
        phrase = HTTPStatus(error.status).phrase.encode()
        return b"HTTP/1.1 %d %b\r\n%b\r\n%b" % (error.status, phrase, fields, bytes(answer.body))

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
