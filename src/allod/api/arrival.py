"""How a request arrives: its connection hears of it, and its body comes without long pauses."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from allod.api.connection import CONNECTION, Connection
from allod.core.errors import RequestTimeout


class Arrival:
    """Middleware that tells a connection where requests begin and end, and limits the pauses in their bodies.

    Only the wait for a body that is being read is limited: not the time that the server takes to answer, nor
    how long a stream goes on.

    Args:
        app: what it stands before.
        body_gap_seconds: longest wait for the next piece of a body.
    """

    def __init__(self, app: ASGIApp, body_gap_seconds: float) -> None:
        self._app = app
        self._body_gap_seconds = body_gap_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one HTTP request or one WebSocket; lifespan passes."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection: Connection | None = scope["state"].get(CONNECTION)  # another server has none
        if connection is not None:
            connection.begin()
        arriving = _Arriving(scope, receive, send, connection, self._body_gap_seconds)
        try:
            if scope["type"] == "http":
                await self._app(scope, arriving.receive, arriving.send)
            else:
                await self._app(scope, receive, send)
        finally:
            arriving.end()


class _Arriving:
    """One request while it is read and answered."""

    def __init__(
        self, scope: Scope, receive: Receive, send: Send, connection: Connection | None, gap_seconds: float
    ) -> None:
        self._receive = receive
        self._send = send
        self._connection = connection
        self._gap_seconds = gap_seconds
        self._is_whole = not _announces_body(scope)
        self._is_answered = False

    async def receive(self) -> Message:
        """What uvicorn has of the body; after its end, the client's leaving.

        Raises:
            RequestTimeout: nothing more of the body came.
        """
        if self._is_whole or self._is_answered:
            return await self._receive()
        try:
            async with asyncio.timeout(self._gap_seconds):
                message = await self._receive()
        except TimeoutError:
            raise RequestTimeout(
                f"Nothing more of the request's body came for {self._gap_seconds:g} seconds (the setting "
                "api.body_gap_seconds). Send the request again, without pauses."
            ) from None
        self._is_whole = not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        """Pass it on; behind the last piece, the connection hears that the answer is complete."""
        self._is_answered = True
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.end()

    def end(self) -> None:
        """It is over, if it was not."""
        if self._connection is not None:
            self._connection.end(is_whole=self._is_whole)
            self._connection = None


def _announces_body(scope: Scope) -> bool:
    if scope["type"] != "http":
        return False
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    return any(
        name == b"transfer-encoding" or (name == b"content-length" and value.strip() != b"0")
        for name, value in headers
    )
